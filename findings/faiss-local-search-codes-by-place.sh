#!/usr/bin/env bash
# faiss-cpu==1.15.1 numpy==2.3.5 (Python 3.11)
#
# Behaviour: LocalSearchQuantizer starts its search at random codes that are drawn by the place in the batch. Of equal
# vectors in one call two in five pairs get other codes, and an item encoded alone, as one that is added later, gets
# other codes than among the catalogue. The seed is fixed, so that the same call twice gives the same and hides it.
#
# Expected: codes that depend on the vector, as ResidualQuantizer and ProductQuantizer give.
#
# Seen:
#   ProductQuantizer: the same call twice True, equal vectors with other codes 0.0, encoded alone with other codes 0.0
#   ResidualQuantizer: the same call twice True, equal vectors with other codes 0.0, encoded alone with other codes 0.0
#   LocalSearchQuantizer: the same call twice True, equal vectors with other codes 0.4, encoded alone with other codes 0.4
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile faiss-cpu==1.15.1 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import faiss
import numpy as np
faiss.omp_set_num_threads(1)
items = np.random.default_rng(0).standard_normal((3_000, 16)).astype("float32")
twice = items[:1_000].repeat(2, axis=0)
for name in ("ProductQuantizer", "ResidualQuantizer", "LocalSearchQuantizer"):
    quantiser = getattr(faiss, name)(16, 4, 5)
    quantiser.train(items)
    codes = quantiser.compute_codes(twice)
    again = np.array_equal(codes, quantiser.compute_codes(twice))
    alone = np.concatenate([quantiser.compute_codes(item[None]) for item in items[:1_000]])
    pairs, late = ((codes[::2] != others).any(axis=1).mean() for others in (codes[1::2], alone))
    print(f"{name}: the same call twice {again}, equal vectors with other codes {pairs:.1f},",
          f"encoded alone with other codes {late:.1f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
