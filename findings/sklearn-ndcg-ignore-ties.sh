#!/usr/bin/env bash
# scikit-learn==1.8.0 numpy==2.3.5 scipy==1.17.1 (Python 3.11)
#
# Behaviour: ndcg_score(ignore_ties=True), advised for speed where there are no ties, ranks the last of tied items
# first: a model with constant scores has NDCG@1 of 1 for targets with the highest number and 0 for all others.
#
# Expected: ties broken in the order of the items, or refused.
#
# Seen:
#   target 0: averaged 0.2, ignore_ties 0.0
#   target 1: averaged 0.2, ignore_ties 0.0
#   target 2: averaged 0.2, ignore_ties 0.0
#   target 3: averaged 0.2, ignore_ties 0.0
#   target 4: averaged 0.2, ignore_ties 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q scikit-learn==1.8.0 numpy==2.3.5 scipy==1.17.1 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
from sklearn.metrics import ndcg_score
for place in range(5):
    target = np.eye(5)[[place]]
    tied = np.ones((1, 5))
    print(f"target {place}: averaged {ndcg_score(target, tied, k=1):.1f},"
          f" ignore_ties {ndcg_score(target, tied, k=1, ignore_ties=True):.1f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
