#!/usr/bin/env bash
# replay-rec==0.22.0 pandas==2.3.3 (Python 3.11)
#
# Behaviour: a list that names an item more than once (a generative model without a trie does) counts it each time:
# NDCG and MAP rise above 1, with a warning. Ties go to the highest id, and item ids of another type (1 and "1") give
# a recall of 0 without a word.
#
# Expected: an item counted once, metrics of at most 1, an error for ids of two types.
#
# Seen:
#   an item listed three times: {'NDCG@4': 2.13}
#   an item listed three times: {'MAP@4': 3.0}
#   three tied items, target 1: {'NDCG@1': 0.0}
#   three tied items, target 3: {'NDCG@1': 1.0}
#   target "1" for item 1: {'Recall@3': 0.0}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q replay-rec==0.22.0 pandas==2.3.3 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import pandas as pd
from replay.metrics import MAP, NDCG, Recall
def table(items, scores):
    return pd.DataFrame({"query_id": 1, "item_id": items, "rating": scores})
def held_out(item):
    return pd.DataFrame({"query_id": [1], "item_id": [item]})
repeated = table([7, 7, 7, 8], [4.0, 3.0, 2.0, 1.0])
for metric in (NDCG, MAP):
    print("an item listed three times:", {k: round(v, 2) for k, v in metric(topk=[4])(repeated, held_out(7)).items()})
tied = table([1, 2, 3], [1.0, 1.0, 1.0])
for item in (1, 3):
    print(f"three tied items, target {item}:", NDCG(topk=[1])(tied, held_out(item)))
print('target "1" for item 1:', Recall(topk=[3])(tied, held_out("1")))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
