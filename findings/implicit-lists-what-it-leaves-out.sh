#!/usr/bin/env bash
# implicit==0.7.3 scipy==1.17.1 numpy==2.3.5 (Python 3.11)
#
# Behaviour: recommend() with filter_already_liked_items=True fills a list that is longer than what is left with the
# items that were to be left out (an item-item model gives them a score of 0), and a list longer than the catalogue
# with item 0, again and again, at a score of 0 that is above the others.
#
# Expected: a list of the items that are left.
#
# Seen:
#   user 0 has items 0 and 1; item-item, N=4: 2 3 1 0
#   ALS, N=6: 3 2 1 0 0 0
#   ALS, sign of the scores: 1 1 -1 -1 0 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q implicit==0.7.3 scipy==1.17.1 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import ItemItemRecommender
history = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 1]], dtype=float))
neighbours = ItemItemRecommender(K=4)
neighbours.fit(history, show_progress=False)
print("user 0 has items 0 and 1; item-item, N=4:", *neighbours.recommend(0, history[0], N=4)[0])
factors = AlternatingLeastSquares(factors=2, random_state=0, iterations=2, num_threads=1)
factors.fit(history, show_progress=False)
items, scores = factors.recommend(0, history[0], N=6)
print("ALS, N=6:", *items)
print("ALS, sign of the scores:", *np.sign(scores).astype(int))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
