#!/usr/bin/env bash
# sentence-transformers==6.2.0 torch==2.13.0 faiss-cpu==1.15.1 numpy==2.3.5 (Python 3.11)
#
# Behaviour: semantic_search_faiss over uint8 embeddings ranks by the inner product of codes from 0 to 255, in which
# the offset of the codes outweighs the rest: items of large codes are found for every user. Exhaustive and rescored,
# it finds less with eight bits a dimension than with one, although the codes themselves keep nearly all.
#
# Expected: eight bits find at least what one bit finds, and about what their codes, read back as floats, find.
#
# Seen:
#   float32: 1.0 of the ten best
#   ubinary, rescored: 0.2 of the ten best
#   uint8, rescored: 0.0 of the ten best
#   the same uint8 codes, read back as floats: 1.0 of the ten best
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile sentence-transformers==6.2.0 torch==2.13.0 faiss-cpu==1.15.1 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import faiss
import numpy as np
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss
faiss.omp_set_num_threads(1)
rng = np.random.default_rng(0)
items, users = (rng.standard_normal((count, 64)).astype("float32") for count in (5_000, 100))
items, users = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (items, users))
best = np.argsort(-users @ items.T)[:, :10]
ranges = np.stack([items.min(axis=0), items.max(axis=0)])
def share(lists):
    return f"{np.mean([len(set(a) & set(b)) / 10 for a, b in zip(lists, best)]):.1f} of the ten best"
for precision in ("float32", "ubinary", "uint8"):
    codes, rescore = quantize_embeddings(items, precision, ranges=ranges), precision != "float32"
    found, _ = semantic_search_faiss(users, corpus_embeddings=codes, corpus_precision=precision, ranges=ranges,
                                     top_k=10, rescore=rescore, exact=True)
    lists = [[hit["corpus_id"] for hit in hits] for hits in found]
    print(f"{precision}{', rescored' * rescore}:", share(lists))
back = ranges[0] + (codes + 0.5) * (ranges[1] - ranges[0]) / 255
print("the same uint8 codes, read back as floats:", share(np.argsort(-users @ back.T)[:, :10]))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
