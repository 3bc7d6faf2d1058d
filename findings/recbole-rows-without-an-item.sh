#!/usr/bin/env bash
# recbole==1.2.1 numpy==1.26.4 pandas==2.2.3 torch==2.13.0 (Python 3.11)
#
# Behaviour: rows without a user are dropped first, then rows without an item by the labels of the first numbering,
# used as places in the second. With both in a file, rows that are whole are dropped and rows without an item stay, as
# padding (item 0).
#
# Expected: the two rows that lack something are dropped, four stay.
#
# Seen:
#   rows in the file: u1-a, (none)-b, u2-c, u3-(none), u4-d, u5-e
#   rows kept:        u1-a, u2-c, u3-[PAD], u5-e
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q recbole==1.2.1 numpy==1.26.4 pandas==2.2.3 torch==2.13.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import sys
from pathlib import Path
sys.argv = ["finding"]
from recbole.config import Config
from recbole.data import create_dataset

rows = [("u1", "a"), ("", "b"), ("u2", "c"), ("u3", ""), ("u4", "d"), ("u5", "e")]
Path("data/tiny").mkdir(parents=True)
lines = ["user_id:token\titem_id:token", *("\t".join(row) for row in rows)]
Path("data/tiny/tiny.inter").write_text("\n".join(lines) + "\n")
print("rows in the file:", ", ".join(f"{user or '(none)'}-{item or '(none)'}" for user, item in rows))
settings = {"data_path": "data", "use_gpu": False, "load_col": {"inter": ["user_id", "item_id"]}}
data = create_dataset(Config(model="BPR", dataset="tiny", config_dict=settings))
users, items = (data.id2token(field, data.inter_feat[field].to_numpy()) for field in ("user_id", "item_id"))
print("rows kept:       ", ", ".join(f"{user}-{item}" for user, item in zip(users, items)))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
