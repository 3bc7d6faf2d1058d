#!/usr/bin/env bash
# usearch==2.26.6 numpy==2.3.5 (Python 3.11)
#
# Behaviour: an index for inner products with dtype="i8" scales every vector to one length before it rounds, so that
# it ranks by cosine: items whose length carries their popularity lose it. An exhaustive search finds three of ten.
#
# Expected: inner products of rounded vectors, or an error for the metric.
#
# Seen:
#   f32: 1.0 of the ten best by inner product, 0.3 of the ten best by cosine
#   f16: 1.0 of the ten best by inner product, 0.3 of the ten best by cosine
#   i8: 0.3 of the ten best by inner product, 1.0 of the ten best by cosine
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q usearch==2.26.6 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
from usearch.index import Index
rng = np.random.default_rng(0)
lengths = rng.uniform(0.2, 3, (2_000, 1))
items = (rng.standard_normal((2_000, 32)) * lengths).astype("float32")
users = rng.standard_normal((50, 32)).astype("float32")
scores = users @ items.T
by_product = np.argsort(-scores)[:, :10]
by_cosine = np.argsort(-scores / np.linalg.norm(items, axis=1))[:, :10]
for dtype in ("f32", "f16", "i8"):
    index = Index(ndim=32, metric="ip", dtype=dtype)
    index.add(np.arange(2_000), items)
    keys = index.search(users, 10, exact=True).keys
    share = [np.mean([len(set(a) & set(b)) / 10 for a, b in zip(keys, best)]) for best in (by_product, by_cosine)]
    print(f"{dtype}: {share[0]:.1f} of the ten best by inner product, {share[1]:.1f} of the ten best by cosine")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
