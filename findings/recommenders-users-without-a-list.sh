#!/usr/bin/env bash
# recommenders==1.2.1 pandas==2.3.3 (Python 3.11)
#
# Behaviour: A user with a held-out item for whom a model gives no list is left out of recall, precision and MAP, and
# counts as 0 in NDCG, in one and the same library. A model that answers half of the users loses nothing in three
# metrics and half in the fourth.
#
# Expected: one rule for all metrics, so that a model cannot gain recall by answering fewer users.
#
# Seen:
#   lists for both users: recall_at_k 1.00, precision_at_k 0.50, ndcg_at_k 1.00, map_at_k 1.00
#   a list for one of two: recall_at_k 1.00, precision_at_k 0.50, ndcg_at_k 0.50, map_at_k 1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q recommenders==1.2.1 pandas==2.3.3 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import pandas as pd
from recommenders.evaluation.python_evaluation import map_at_k, ndcg_at_k, precision_at_k, recall_at_k
held_out = pd.DataFrame({"userID": [1, 2], "itemID": [0, 0], "rating": 1.0})
both = pd.DataFrame({"userID": [1, 1, 2, 2], "itemID": [0, 5, 0, 5], "prediction": [2.0, 1.0, 2.0, 1.0]})
for name, lists in (("lists for both users", both), ("a list for one of two", both[both.userID == 1])):
    figures = [(m.__name__, m(held_out, lists, k=2)) for m in (recall_at_k, precision_at_k, ndcg_at_k, map_at_k)]
    print(f"{name}:", ", ".join(f"{metric} {value:.2f}" for metric, value in figures))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
