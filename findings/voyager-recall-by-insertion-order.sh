#!/usr/bin/env bash
# voyager==2.2.3 numpy==2.3.5 (Python 3.11)
#
# Behaviour: recall of the ten best inner products depends on the order in which items are added: the same vectors
# have .25 shuffled and .74 sorted by length, with the same settings and seed.
#
# Expected: about the same recall for any order, as with other graph indexes.
#
# Seen:
#   shuffled: recall@10 0.3
#   by length: recall@10 0.7
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q voyager==2.2.3 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
import voyager
rng = np.random.default_rng(0)
items = (rng.standard_normal((2_000, 32)) * rng.uniform(0.2, 3, (2_000, 1))).astype("float32")
users = rng.standard_normal((50, 32)).astype("float32")
best = np.argsort(-users @ items.T)[:, :10]
lengths = np.linalg.norm(items, axis=1)
for name, order in (("shuffled", np.arange(2_000)), ("by length", np.argsort(lengths))):
    index = voyager.Index(voyager.Space.InnerProduct, num_dimensions=32, random_seed=1)
    index.add_items(items[order], ids=order.tolist(), num_threads=1)
    found, _ = index.query(users, 10, num_threads=1)
    print(f"{name}: recall@10 {np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, best)]):.1f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
