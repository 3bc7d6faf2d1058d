#!/usr/bin/env bash
# faiss-cpu==1.15.1 numpy==2.3.5 (Python 3.11)
#
# Behaviour: an IVF index at its default nprobe of 1 fills places that its one cell cannot with id -1 and the lowest
# float. NumPy takes titles[-1] for the last item of the catalogue, so that a recommender shows it again and again.
#
# Expected: fewer results, or an error that says that k is more than a cell holds.
#
# Seen:
#   nprobe: 1
#   more than a third of the places are -1: True
#   score of an empty place: -3.4028235e+38
#   shown most often: item 4999
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q faiss-cpu==1.15.1 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import faiss
import numpy as np
faiss.omp_set_num_threads(1)
rng = np.random.default_rng(0)
items, users = rng.standard_normal((5_000, 32)).astype("float32"), rng.standard_normal((100, 32)).astype("float32")
index = faiss.index_factory(32, "IVF128,Flat", faiss.METRIC_INNER_PRODUCT)
index.train(items)
index.add(items)
scores, found = index.search(users, 100)
titles = np.array([f"item {number}" for number in range(5_000)])
shown, times = np.unique(titles[found], return_counts=True)
print("nprobe:", index.nprobe)
print("more than a third of the places are -1:", bool((found == -1).mean() > 1 / 3))
print("score of an empty place:", scores[found == -1][0])
print("shown most often:", shown[times.argmax()])
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
