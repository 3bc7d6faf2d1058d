#!/usr/bin/env bash
# RecTools==0.19.0 pandas==2.3.3 numpy==1.26.4 (Python 3.11)
#
# Behaviour: NDCG divides by the DCG of k relevant items, however many the user has (divide_by_achievable=False is the
# default). One held-out item on the first place, the best list there is, has NDCG@10 of .22, and a longer list lowers
# it: NDCG@5 is .34.
#
# Expected: 1.0 for a perfect list at every cut-off, as MRR and recall of the same call say; leave-one-out figures of
# other libraries are 4.5 times as large.
#
# Seen:
#   target on place 1: NDCG@1 1.0000, NDCG@5 0.3392, NDCG@10 0.2201, NDCG@10, achievable 1.0000, MRR@10 1.0000, recall@10 1.0000
#   target on place 5: NDCG@1 0.0000, NDCG@5 0.1312, NDCG@10 0.0851, NDCG@10, achievable 0.3869, MRR@10 0.2000, recall@10 1.0000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q RecTools==0.19.0 pandas==2.3.3 numpy==1.26.4 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import pandas as pd
from rectools.metrics import MRR, NDCG, Recall
lists = pd.DataFrame({"user_id": 1, "item_id": range(10), "rank": range(1, 11)})
for place in (1, 5):
    held_out = pd.DataFrame({"user_id": [1], "item_id": [place - 1]})
    figures = {f"NDCG@{k}": NDCG(k=k).calc(lists, held_out) for k in (1, 5, 10)}
    figures["NDCG@10, achievable"] = NDCG(k=10, divide_by_achievable=True).calc(lists, held_out)
    figures |= {"MRR@10": MRR(k=10).calc(lists, held_out), "recall@10": Recall(k=10).calc(lists, held_out)}
    print(f"target on place {place}:", ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
