#!/usr/bin/env bash
# vector-quantize-pytorch==1.32.0 torch==2.13.0 numpy==2.3.5 (Python 3.11)
#
# Behaviour: ResidualVQ takes use_cosine_sim=True and gives every level codes of length 1, also those that stand for
# small residuals. Of item vectors of length 1 the second level nearly doubles the error of the first, and four levels
# have more error than one, although all codes are in use. The later codes of such semantic IDs do not refine.
#
# Expected: less error with every level, as with Euclidean codes, or an error for the combination.
#
# Seen:
#   Euclidean: code lengths 0.8 0.3 0.2 0.2; less error than a level less: 2 True, 3 True, 4 True; 4 less than 1: True
#   cosine: code lengths 1.0 1.0 1.0 1.0; less error than a level less: 2 False, 3 True, 4 False; 4 less than 1: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q vector-quantize-pytorch==1.32.0 torch==2.13.0 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import torch
from vector_quantize_pytorch import ResidualVQ
torch.set_num_threads(1)
torch.manual_seed(0)
items = torch.randn(32, 32).repeat(128, 1) + 0.6 * torch.randn(4_096, 32)
items = torch.nn.functional.normalize(items, dim=-1)[None]
for name, cosine in (("Euclidean", False), ("cosine", True)):
    torch.manual_seed(0)
    quantiser = ResidualVQ(dim=32, num_quantizers=4, codebook_size=32, kmeans_init=True, use_cosine_sim=cosine)
    for _ in range(30):
        quantiser(items)
    quantiser.eval()
    with torch.no_grad():
        levels = quantiser.get_codes_from_indices(quantiser(items)[1])
    errors = [float(((items - levels[:count].sum(dim=0)) ** 2).sum(dim=-1).mean()) for count in range(1, 5)]
    lengths = " ".join(f"{float(level.norm(dim=-1).mean()):.1f}" for level in levels)
    falls = ", ".join(f"{count + 1} {errors[count] < errors[count - 1]}" for count in (1, 2, 3))
    print(f"{name}: code lengths {lengths}; less error than a level less: {falls};",
          f"4 less than 1: {errors[3] < errors[0]}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
