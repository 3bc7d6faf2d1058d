#!/usr/bin/env bash
# cornac==3.0.1 numpy==2.4.6 (Python 3.11)
#
# Behaviour: metrics of a whole ranking (MRR, NDCG without a cut-off) share one ranking with the metrics at k of the
# same call, which sorts only the k best and leaves the rest as a partition left them. Ranks and NDCG of the same model
# and scores change as recall at 10 joins; the targets that were not among the ten best are on other places.
#
# Expected: a metric has one value, whatever else is asked for. AUC, which takes the scores, has.
#
# Seen:
#   users whose target has another rank with Recall(k=10): more than half
#   users among them whose target was among the ten best: 0
#   the same MRR: False
#   the same NDCG: False
#   the same AUC: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q cornac==3.0.1 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
from cornac.eval_methods import BaseMethod
from cornac.metrics import AUC, MRR, NDCG, Recall
from cornac.models import Recommender
class Fixed(Recommender):
    def __init__(self):
        super().__init__(name="fixed scores")
    def score(self, user_idx, item_idx=None):
        return np.random.default_rng(user_idx).permutation(self.total_items).astype(float)
rng = np.random.default_rng(0)
train = [(f"u{user}", f"i{item}", 1.0) for user in range(200) for item in rng.choice(3_000, 50, replace=False)]
seen = {(user, item) for user, item, _ in train}
pairs = [(f"u{user}", f"i{rng.integers(3_000)}") for user in range(200)]
method = BaseMethod.from_splits(train_data=train, test_data=[(*pair, 1.0) for pair in pairs if pair not in seen])
def evaluate(*more):
    return method.evaluate(Fixed(), [MRR(), NDCG(), AUC(), *more], user_based=True)[0]
alone, joined = evaluate(), evaluate(Recall(k=10))
ranks, others = ({user: round(1 / value) for user, value in found.metric_user_results["MRR"].items()}
                 for found in (alone, joined))
moved = [user for user in ranks if ranks[user] != others[user]]
print("users whose target has another rank with Recall(k=10):",
      "more than half" if len(moved) > len(ranks) / 2 else len(moved))
print("users among them whose target was among the ten best:", sum(ranks[user] <= 10 for user in moved))
for name in ("MRR", "NDCG@-1", "AUC"):
    same = alone.metric_avg_results[name] == joined.metric_avg_results[name]
    print(f"the same {name.removesuffix('@-1')}:", bool(same))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
