#!/usr/bin/env bash
# cornac==3.0.1 numpy==2.4.6 (Python 3.11)
#
# Behaviour: AUC of a model that gives every item the same score is 0, the worst there is: only items scored strictly
# below the target count, ties count against it in full. MRR and NDCG of the same scores take the order of the items
# and favour low numbers.
#
# Expected: AUC .5 for constant scores.
#
# Seen:
#   constant scores, target 0: AUC 0.0, MRR 1.0
#   constant scores, target 9: AUC 0.0, MRR 0.1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q cornac==3.0.1 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
from cornac.metrics import AUC, MRR
scores, items = np.zeros(10), np.arange(10)
for target in (0, 9):
    auc = AUC().compute(item_indices=items, pd_scores=scores, gt_pos=np.array([target]))
    mrr = MRR().compute(gt_pos=np.array([target]), pd_rank=np.argsort(-scores, kind="stable"))
    print(f"constant scores, target {target}: AUC {auc:.1f}, MRR {mrr:.1f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
