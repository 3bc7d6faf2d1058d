#!/usr/bin/env bash
# ranx==0.3.21 numpy==2.3.5 numba==0.68.1 (Python 3.11)
#
# Behaviour: the rank of a target among items of equal score is its place in the given order for ten items, and an
# arbitrary other place for forty and more.
#
# Expected: one rule for every length: the given order, or ties against the target.
#
# Seen:
#   10 tied items: given on place 1: rank 1, given on place 6: rank 6, given on place 10: rank 10
#   40 tied items: given on place 1: rank 21, given on place 21: rank 9, given on place 40: rank 40
#   200 tied items: given on place 1: rank 126, given on place 101: rank 24, given on place 200: rank 187
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q ranx==0.3.21 numpy==2.3.5 numba==0.68.1 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
from ranx import Qrels, Run, evaluate
for count in (10, 40, 200):
    items = [f"i{number:03d}" for number in range(count)]
    run, ranks = Run({"user": dict.fromkeys(items, 1.0)}), []
    for place in (0, count // 2, count - 1):
        mrr = evaluate(Qrels({"user": {items[place]: 1}}), run, "mrr")
        ranks.append(f"given on place {place + 1}: rank {1 / mrr:.0f}")
    print(f"{count} tied items:", ", ".join(ranks))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
