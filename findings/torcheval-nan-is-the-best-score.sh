#!/usr/bin/env bash
# torcheval==0.0.7 torch==2.13.0 numpy==2.3.5 scikit-learn==1.8.0 (Python 3.11)
#
# Behaviour: hit_rate and reciprocal_rank count the items scored strictly above the target. A model that has diverged
# to NaN has hit rate and MRR of 1, the best there is, since nothing is above NaN; so has one that gives every item the
# same score. Where the target alone is NaN the user counts as a hit.
#
# Expected: NaN or an error for NaN, and ties that do not all go to the target. scikit-learn refuses NaN.
#
# Seen:
#   random scores: hit_rate@1 0.0, reciprocal_rank 0.0; scikit-learn: 0.0
#   all NaN: hit_rate@1 1.0, reciprocal_rank 1.0; scikit-learn: Input contains NaN.
#   the target NaN: hit_rate@1 1.0, reciprocal_rank 1.0; scikit-learn: Input contains NaN.
#   all alike: hit_rate@1 1.0, reciprocal_rank 1.0; scikit-learn: 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile torcheval==0.0.7 torch==2.13.0 numpy==2.3.5 scikit-learn==1.8.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import torch
from sklearn.metrics import top_k_accuracy_score
from torcheval.metrics.functional import hit_rate, reciprocal_rank
torch.manual_seed(0)
targets = torch.randint(1_000, (500,))
scores = torch.randn(500, 1_000)
alone = scores.scatter(1, targets[:, None], float("nan"))
for words, given in (("random scores", scores), ("all NaN", scores * float("nan")), ("the target NaN", alone),
                     ("all alike", torch.zeros(500, 1_000))):
    try:
        other = f"{top_k_accuracy_score(targets, given, k=1, labels=range(1_000)):.1f}"
    except ValueError as error:
        other = str(error).splitlines()[0]
    print(f"{words}: hit_rate@1 {hit_rate(given, targets, k=1).mean():.1f},",
          f"reciprocal_rank {reciprocal_rank(given, targets).mean():.1f}; scikit-learn: {other}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
