#!/usr/bin/env bash
# gensim==4.4.0 numpy==1.26.4 scipy==1.16.3 (Python 3.11)
#
# Behaviour: items that are numbers become keys of a Word2Vec model, and a number that is no key is taken as a place
# in the list by frequency. An item that min_count left out, or that was never bought, is "in" the model, has the
# vector of another item and recommends with it, without a word. The same item as text is a KeyError.
#
# Expected: `in` is False and a KeyError for a key that the model lacks, of whatever type.
#
# Seen:
#   keys by frequency: 10, 30, 70
#   item 2, bought once: in the model True, has the vector of item 70 True
#   item 1, never bought: in the model True, has the vector of item 30 True
#   item 5, never bought: in the model False
#   similarity of items 2 and 70: 1.0
#   most similar to item 2: item 70
#   text "2": in the model False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile gensim==4.4.0 numpy==1.26.4 scipy==1.16.3 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
from gensim.models import Word2Vec
histories = [[10, 30, 10, 70, 30, 10], [10, 30, 70]] * 5 + [[2, 10]]
def fit(histories):
    return Word2Vec(histories, vector_size=8, min_count=3, seed=1, workers=1).wv
items = fit(histories)
print("keys by frequency:", ", ".join(map(str, items.index_to_key)))
for words, item, other in (("bought once", 2, 70), ("never bought", 1, 30)):
    print(f"item {item}, {words}: in the model {item in items},",
          f"has the vector of item {other} {np.array_equal(items[item], items[other])}")
print("item 5, never bought: in the model", 5 in items)
print(f"similarity of items 2 and 70: {items.similarity(2, 70):.1f}")
print("most similar to item 2: item", items.similar_by_vector(items[2], topn=1)[0][0])
print('text "2": in the model', "2" in fit([[str(item) for item in history] for history in histories]))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
