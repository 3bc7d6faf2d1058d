#!/usr/bin/env bash
# beir==2.2.0 pytrec_eval-terrier==0.5.11 numpy==2.3.5 tqdm==4.70.1 (Python 3.11)
#
# Behaviour: EvaluateRetrieval.evaluate takes every item out of a user's list that has the name of the user (made for
# queries that are documents) and takes it out of the lists that it was given; evaluate_custom does not. Users and
# items that are both numbered from 0 lose targets: NDCG is too low, and MRR of the same lists is another figure after
# NDCG was computed than before.
#
# Expected: lists that are left as they are, and one rule for all metrics of the class.
#
# Seen:
#   items 0 to 9: MRR@10 0.55, NDCG@10 0.15, recall@10 0.50, MRR@10 again 0.06; 90 of 100 scores left
#   items i0 to i9: MRR@10 0.55, NDCG@10 0.64, recall@10 1.00, MRR@10 again 0.55; 100 of 100 scores left
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --no-deps beir==2.2.0 pytrec_eval-terrier==0.5.11 numpy==2.3.5 tqdm==4.70.1 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
from beir.retrieval.evaluation import EvaluateRetrieval
def evaluate(prefix):
    targets = {str(user): {f"{prefix}{user // 2 * 2}": 1} for user in range(10)}
    lists = {user: {f"{prefix}{item}": 1 / (1 + (item - int(user)) % 10) for item in range(10)} for user in targets}
    before = EvaluateRetrieval.evaluate_custom(targets, lists, [10], "mrr")["MRR@10"]
    ndcg, _, recall, _ = EvaluateRetrieval.evaluate(targets, lists, [10])
    after = EvaluateRetrieval.evaluate_custom(targets, lists, [10], "mrr")["MRR@10"]
    left = sum(map(len, lists.values()))
    print(f"items {prefix}0 to {prefix}9: MRR@10 {before:.2f}, NDCG@10 {ndcg['NDCG@10']:.2f},",
          f"recall@10 {recall['Recall@10']:.2f}, MRR@10 again {after:.2f}; {left} of 100 scores left")
evaluate("")
evaluate("i")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
