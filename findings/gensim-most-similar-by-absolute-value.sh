#!/usr/bin/env bash
# gensim==4.4.0 numpy==1.26.4 scipy==1.16.3 (Python 3.11)
#
# Behaviour: MatrixSimilarity(num_best=k), documented as the k most similar documents, takes the k of the largest
# absolute value and sorts by it: the items least like the query, at a cosine near -1, push out those at .8. Without
# num_best the same index gives the signed cosines, and KeyedVectors.most_similar ranks the same vectors by them.
#
# Expected: the k items of the highest similarity, whether k is given to the index or applied to what it gives.
#
# Seen:
#   index(num_best=3): 0 1.0, 3 -1.0, 4 -0.9
#   index, three highest: 0 1.0, 1 0.8, 2 0.3
#   most_similar, topn=3: 0 1.0, 1 0.8, 2 0.3
#   random vectors, num_best=10: share below zero 0.5, share of the ten best 0.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile gensim==4.4.0 numpy==1.26.4 scipy==1.16.3 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
from gensim.models import KeyedVectors
from gensim.similarities import MatrixSimilarity
def corpus(vectors):
    return [list(enumerate(map(float, vector))) for vector in vectors]
def write(pairs):
    return ", ".join(f"{item} {value:.1f}" for item, value in pairs)
vectors = np.array([[1, 0], [0.8, 0.6], [0.3, 0.95], [-1, 0.1], [-0.9, 0.44]])
index = MatrixSimilarity(corpus(vectors), num_features=2, num_best=3)
print("index(num_best=3):", write(index[corpus(vectors)[0]]))
index.num_best = None
scores = index[corpus(vectors)[0]]
print("index, three highest:", write((item, scores[item]) for item in np.argsort(-scores)[:3]))
keyed = KeyedVectors(2)
keyed.add_vectors([str(item) for item in range(5)], vectors)
print("most_similar, topn=3:", write(keyed.most_similar(vectors[0], topn=3)))
rng = np.random.default_rng(0)
items, users = rng.standard_normal((2_000, 16)), rng.standard_normal((100, 16))
index = MatrixSimilarity(corpus(items), num_features=16)
best = np.argsort(-index[corpus(users)])[:, :10]
index.num_best = 10
found = index[corpus(users)]
below = np.mean([value < 0 for pairs in found for _, value in pairs])
share = np.mean([len({item for item, _ in pairs} & set(row)) / 10 for pairs, row in zip(found, best)])
print(f"random vectors, num_best=10: share below zero {below:.1f}, share of the ten best {share:.1f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
