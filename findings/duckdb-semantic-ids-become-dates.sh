#!/usr/bin/env bash
# duckdb==2.0.1 (Python 3.11)
#
# Behaviour: a CSV column of semantic IDs whose codes are parted by hyphens, spaces, colons or dots is read as dates
# or times: 12-11-10 is 12 November 2010 written the other way round, 300-11-10 is a day of the year 300. Each
# tokenizer gets a type of its own, and the codes are no longer what was written.
#
# Expected: text, as for codes in brackets.
#
# Seen:
#   12-11-10: DATE 2012-11-10
#   3-17-42: DATE 2042-03-17
#   12 11 10: DATE 2012-11-10
#   12:11:10: TIME 12:11:10
#   12.11.10: DATE 2012-11-10
#   300-11-10: DATE 0300-11-10
#   <a_12><b_11>: VARCHAR <a_12><b_11>
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q duckdb==2.0.1 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import duckdb
for codes in ("12-11-10", "3-17-42", "12 11 10", "12:11:10", "12.11.10", "300-11-10", "<a_12><b_11>"):
    with open("tokens.csv", "w") as file:
        file.write("item_id,codes\n" + "".join(f"i{number},{codes}\n" for number in range(5)))
    table = duckdb.sql("from read_csv('tokens.csv')")
    print(f"{codes}: {table.types[1]} {table.fetchone()[1] if hasattr(table, 'fetchone') else table.fetchall()[0][1]}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
