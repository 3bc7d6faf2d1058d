#!/usr/bin/env bash
# polars==2.1.0 duckdb==2.0.1 (Python 3.11)
#
# Behaviour: among scores with a NaN (a cold item, 0 / 0) max and arg_max skip it, while top_k_by, sort and rank put it
# first: the best item of a list and the first of its top one are two items, and the item with the highest score has
# rank 2. One NaN moves all ranks of a user by one. In DuckDB the NaN is the best for all of them.
#
# Expected: one order for the best, the top k and the ranks, NaN first or left out.
#
# Seen:
#   polars: max 0.9, arg_max item 3, top 1 item 2, sort item 2, rank 1 item 2
#   duckdb: max nan, arg_max item 2, top 1 item 2, sort item 2, rank 1 item 2
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile polars==2.1.0 duckdb==2.0.1 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import duckdb
import polars as pl
rows = [(1, 0.5), (2, float("nan")), (3, 0.9), (4, 0.1)]
item, score = pl.col("item"), pl.col("score")
best = pl.DataFrame(rows, schema=["item", "score"], orient="row").select(
    score.max(), item.get(score.arg_max()).alias("arg_max"), item.top_k_by("score", 1).first().alias("top"),
    item.sort_by("score", descending=True).first().alias("sort"),
    item.filter(score.rank(descending=True) == 1).first().alias("rank")).row(0)
database = duckdb.connect()
database.execute("create table scores (item integer, score double)")
database.executemany("insert into scores values (?, ?)", rows)
other = database.execute("""
    select max(score), arg_max(item, score), arg_max(item, score, 1)[1], first(item order by score desc),
           (select item from (from scores select item, rank() over (order by score desc) as place) where place = 1)
    from scores""").fetchall()[0]
for name, found in (("polars", best), ("duckdb", other)):
    print(f"{name}: max {found[0]}, arg_max item {found[1]}, top 1 item {found[2]}, sort item {found[3]},",
          f"rank 1 item {found[4]}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
