#!/usr/bin/env bash
# pytrec_eval-terrier==0.5.11 numpy==1.26.4 (Python 3.11)
#
# Behaviour: items of equal score are ranked by their name as text, last letter first ("9" before "11" before "0"), so
# that a metric of tied items depends on what the items are called. Items that share a semantic ID always tie.
#
# Expected: that renaming items moves no metric, or that ties count against the target.
#
# Seen:
#   twelve tied items, target 0: rank 12
#   twelve tied items, target 11: rank 9
#   twelve tied items, target 9: rank 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pytrec_eval-terrier==0.5.11 numpy==1.26.4 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import pytrec_eval
items = [str(number) for number in range(12)]
for target in ("0", "11", "9"):
    evaluator = pytrec_eval.RelevanceEvaluator({"user": {target: 1}}, {"recip_rank"})
    found = evaluator.evaluate({"user": dict.fromkeys(items, 1.0)})["user"]["recip_rank"]
    print(f"twelve tied items, target {target}: rank {1 / found:.0f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
