#!/usr/bin/env bash
# ir_measures==0.4.3 pytrec_eval-terrier==0.5.11 numpy==2.3.5 (Python 3.11)
#
# Behaviour: RR and RR@k of one call come from two programs that order ties by item name in opposite directions. Over
# twelve items of equal score a cut-off of twelve, which cuts nothing, turns a rank of 12 into 1 and back. NDCG and
# success go with RR, the share of judged items with RR@k.
#
# Expected: RR@12 equal to RR for lists of twelve, and one order of ties for all metrics of a call.
#
# Seen:
#   twelve tied items, target i00: RR 0.08, RR@12 1.00, nDCG@12 0.27, Success@1 0.00, Judged@1 1.00
#   twelve tied items, target i11: RR 1.00, RR@12 0.08, nDCG@12 1.00, Success@1 1.00, Judged@1 0.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q ir_measures==0.4.3 pytrec_eval-terrier==0.5.11 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import ir_measures
from ir_measures import RR, Judged, Success, nDCG
items = [f"i{number:02d}" for number in range(12)]
metrics = [RR, RR @ 12, nDCG @ 12, Success @ 1, Judged @ 1]
for target in ("i00", "i11"):
    found = ir_measures.calc_aggregate(metrics, {"user": {target: 1}}, {"user": dict.fromkeys(items, 1.0)})
    print(f"twelve tied items, target {target}:", ", ".join(f"{metric} {found[metric]:.2f}" for metric in metrics))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
