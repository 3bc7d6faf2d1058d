#!/usr/bin/env bash
# pyarrow==21.0.0 (Python 3.11)
#
# Behaviour: the number that csv.ParseOptions(invalid_row_handler=...) is given is documented as the physical row number
# (from 1). Where empty lines are ignored, which is the default, they are not counted: in an export with blank lines
# the number is that of no line of the file. With ignore_empty_lines=False it is the line's.
#
# Expected: the same line of the file has the same number, whatever becomes of empty lines.
#
# Seen:
#   empty lines ignored: row 3 is '3,4,5', row 4 is '6,7,8'
#   empty lines kept: row 5 is '3,4,5', row 7 is '6,7,8'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pyarrow==21.0.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" - >seen <<'PYTHON'
import io

from pyarrow import csv

text = b"user,item\nu1,a\n\n\n3,4,5\n\n6,7,8\n"
for words, ignored in (("ignored", True), ("kept", False)):
    rows = []

    def note(row):
        rows.append(f"row {row.number} is {row.text!r}")
        return "skip"

    read = csv.ReadOptions(use_threads=False)
    csv.read_csv(io.BytesIO(text), read, csv.ParseOptions(invalid_row_handler=note, ignore_empty_lines=ignored))
    print(f"empty lines {words}: {', '.join(rows)}")
PYTHON
cat seen
diff <(sed -n 's/^#   //p' "$script") seen
