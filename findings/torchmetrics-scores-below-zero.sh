#!/usr/bin/env bash
# torchmetrics==1.9.0 torch==2.13.0 numpy==2.3.5 (Python 3.11)
#
# Behaviour: MRR, recall, precision and MAP take no item with a score of 0 or less for a hit; hit rate, NDCG and AUROC
# do. A target on the first place of logits or log-likelihoods, which are below 0, has hit rate 1 and recall 0, and
# adding a constant to all scores, which moves no rank, turns 0 into 1.
#
# Expected: the same figures for the same ranking, recall equal to hit rate for one target, or an error.
#
# Seen:
#   scores -1 to -2: hit_rate 1.0, recall 0.0, reciprocal_rank 0.0, average_precision 0.0, normalized_dcg 1.0, auroc 1.0
#   scores 2 to 1: hit_rate 1.0, recall 1.0, reciprocal_rank 1.0, average_precision 1.0, normalized_dcg 1.0, auroc 1.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torchmetrics==1.9.0 torch==2.13.0 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import torch
from torchmetrics.functional import retrieval
below = torch.linspace(-1, -2, 10)
target = torch.zeros(10, dtype=torch.bool)
target[0] = True
names = ("hit_rate", "recall", "reciprocal_rank", "average_precision", "normalized_dcg", "auroc")
for words, scores in (("-1 to -2", below), ("2 to 1", below + 3)):
    figures = {name: getattr(retrieval, f"retrieval_{name}")(scores, target, top_k=5) for name in names}
    print(f"scores {words}:", ", ".join(f"{name} {value:.1f}" for name, value in figures.items()))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
