#!/usr/bin/env bash
# safetensors==0.8.0 numpy==2.3.5 (Python 3.11)
#
# Behaviour: the NumPy side writes an array in the order of its memory with the shape of its view: a transposed,
# Fortran-ordered or sliced array comes back with its numbers in other places, without a word.
#
# Expected: the same array back, or an error.
#
# Seen:
#   as it is: [[0, 1, 2], [3, 4, 5]] comes back as [[0, 1, 2], [3, 4, 5]]
#   transposed: [[0, 3], [1, 4], [2, 5]] comes back as [[0, 1], [2, 3], [4, 5]]
#   Fortran order: [[0, 1, 2], [3, 4, 5]] comes back as [[0, 3, 1], [4, 2, 5]]
#   two columns: [[0, 1], [3, 4]] comes back as [[0, 1], [2, 3]]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q safetensors==0.8.0 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
from safetensors.numpy import load_file, save_file
codes = np.arange(6).reshape(2, 3)
for name, array in (("as it is", codes), ("transposed", codes.T), ("Fortran order", np.asfortranarray(codes)),
                    ("two columns", codes[:, :2])):
    save_file({"codes": array}, "codes.safetensors")
    back = load_file("codes.safetensors")["codes"]
    print(f"{name}: {array.tolist()} comes back as {back.tolist()}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
