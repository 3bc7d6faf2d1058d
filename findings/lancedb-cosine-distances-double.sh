#!/usr/bin/env bash
# lancedb==0.40.0 numpy==2.3.5 pyarrow==26.0.1 (Python 3.11)
#
# Behaviour: a quantised index on the cosine metric gives twice the cosine distance that a search without an index and
# IVF_FLAT give. One row added after the index was made halves the distances shown again, those of all other rows too,
# while distance_range goes on comparing the doubled ones: within .6 of a user there are 28 items, or none.
#
# Expected: one distance for a row and a query, from 0 to 2, and a range in the same unit as the distance shown.
#
# Seen:
#   no index: shown / cosine distance 1.0, items within 0.6: 28; one row more: 1.0, 28
#   IVF_FLAT: shown / cosine distance 1.0, items within 0.6: 28; one row more: 1.0, 28
#   IVF_SQ: shown / cosine distance 2.0, items within 0.6: 0; one row more: 1.0, 0
#   IVF_RQ: shown / cosine distance 2.0, items within 0.6: 0; one row more: 1.0, 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q lancedb==0.40.0 numpy==2.3.5 pyarrow==26.0.1 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import lancedb
import numpy as np
import pyarrow as pa
rng = np.random.default_rng(0)
items, users = (rng.standard_normal((count, 32)).astype("float32") for count in (2_701, 20))
items, users = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (items, users))
distances = 1 - users @ items.T
def rows(first, last):
    vectors = pa.FixedSizeListArray.from_arrays(items[first:last].ravel(), 32)
    return pa.table({"item": np.arange(first, last), "vector": vectors})
def look(table):
    ratios, within = [], 0
    for user, vector in enumerate(users):
        found = table.search(vector).distance_type("cosine").limit(10).to_arrow()
        ratios.extend(found["_distance"].to_numpy() / distances[user, found["item"].to_numpy()])
        near = table.search(vector).distance_type("cosine").distance_range(upper_bound=0.6)
        within += len(near.limit(2_701).to_arrow())
    return np.median(ratios), within / len(users)
database = lancedb.connect("database")
for kind in (None, "IVF_FLAT", "IVF_SQ", "IVF_RQ"):
    table = database.create_table(kind or "none", rows(0, 2_700))
    if kind:
        table.create_index(metric="cosine", vector_column_name="vector", index_type=kind, num_partitions=1)
    ratio, within = look(table)
    print(f"{kind or 'no index'}: shown / cosine distance {ratio:.1f}, items within 0.6: {within:.0f};", end=" ")
    table.add(rows(2_700, 2_701))
    ratio, within = look(table)
    print(f"one row more: {ratio:.1f}, {within:.0f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
