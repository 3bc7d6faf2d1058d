#!/usr/bin/env bash
# cornac==3.0.1 numpy==2.4.6 (Python 3.11)
#
# Behaviour: session_seq_iter, from which TIGER and other next-item models train, leaves out the last row of an epoch
# where exactly one is left after the full batches. A session of two items, alone, gives no batch at all, so that such
# a model is "trained" without a step and without a word; with batch_size=1 all rows come.
#
# Expected: its docstring: a session [i0, ..., iT] yields T triples (history, target).
#
# Seen:
#   9 targets, batches of 3: 9 rows
#   9 targets, batches of 4: 8 rows
#   9 targets, batches of 5: 9 rows
#   9 targets, batches of 8: 8 rows
#   1 target, batches of 64: 0 rows
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q cornac==3.0.1 numpy==2.4.6 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
from cornac.data import SequentialDataset
from cornac.models.seq_utils import session_seq_iter
def rows(sessions, size):
    data = SequentialDataset.build([(s, f"i{item}", item) for s, length in enumerate(sessions) for item in range(length)], fmt="SIT")
    return sum(len(targets) for _, _, targets in session_seq_iter(data, pad_index=99, batch_size=size, n_sample=0))
for size in (3, 4, 5, 8):
    print(f"9 targets, batches of {size}:", rows([4, 4, 4], size), "rows")
print("1 target, batches of 64:", rows([2], 64), "rows")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
