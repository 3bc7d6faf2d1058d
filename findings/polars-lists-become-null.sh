#!/usr/bin/env bash
# polars==2.1.0 duckdb==2.0.1 (Python 3.11)
#
# Behaviour: read_ndjson infers types from the first 100 lines. A field whose lists are empty there (categories or
# features of a catalogue) is a list of nulls, and every later list keeps its length and loses its values without a
# word. A field that is null there and has a text later is an error, as it should be.
#
# Expected: the values, or the error that the field of texts gives. infer_schema_length=None reads them.
#
# Seen:
#   lists, polars: [None, None]
#   lists, polars, all lines inferred: ['books', 'poems']
#   lists, duckdb: ['books', 'poems']
#   texts, polars: ComputeError: got non-null value for NULL-typed column: books
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q polars==2.1.0 duckdb==2.0.1 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import json
import duckdb
import polars as pl
def write(name, none, value):
    lines = [{"item_id": f"i{number}", "categories": none} for number in range(100)]
    lines.append({"item_id": "i100", "categories": value})
    with open(name, "w") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
write("lists.jsonl", [], ["books", "poems"])
write("texts.jsonl", None, "books")
print("lists, polars:", pl.read_ndjson("lists.jsonl")["categories"].to_list()[-1])
whole = pl.read_ndjson("lists.jsonl", infer_schema_length=None)
print("lists, polars, all lines inferred:", whole["categories"].to_list()[-1])
print("lists, duckdb:", duckdb.sql("select categories from 'lists.jsonl' where item_id = 'i100'").fetchall()[0][0])
try:
    print("texts, polars:", pl.read_ndjson("texts.jsonl")["categories"].to_list()[-1])
except pl.exceptions.ComputeError as error:
    print("texts, polars: ComputeError:", str(error).splitlines()[0])
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
