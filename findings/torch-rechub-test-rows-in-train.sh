#!/usr/bin/env bash
# torch-rechub==0.9.0 torch==2.13.0 pandas==2.3.3 numpy==2.3.5 scikit-learn==1.8.0 (Python 3.11)
#
# Behaviour: create_seq_features, which splits off each user's last item for test, puts every test row into the training
# set too. generate_seq_feature, made for the same, does not, but stops at max_len (50) items without moving the split:
# users of more than 50 items have no test row, those of more than 51 no row for validation, and what they did
# after their 50th item is in none of the sets.
#
# Expected: rows in one of the sets, and one last item of every user to test.
#
# Seen:
#   create_seq_features: 400 test rows, in train too 400; 400 validation rows, in train too 0
#   generate_seq_feature: users of 10 items: tested 100 of 100, last item in any set 100
#   generate_seq_feature: users of 50 items: tested 100 of 100, last item in any set 100
#   generate_seq_feature: users of 51 items: tested 0 of 100, last item in any set 0
#   generate_seq_feature: users of 60 items: tested 0 of 100, last item in any set 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile torch-rechub==0.9.0 torch==2.13.0 pandas==2.3.3 numpy==2.3.5 scikit-learn==1.8.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import random
import numpy as np
import pandas as pd
from torch_rechub.utils.data import create_seq_features, generate_seq_feature
random.seed(0)
lengths = np.repeat([10, 50, 51, 60], 100)
items = np.random.default_rng(0).permuted(np.tile(np.arange(1_000), (len(lengths), 1)), axis=1)
rows = [(user, items[user, place], items[user, place] % 5, place)
        for user, length in enumerate(lengths) for place in range(length)]
frame = pd.DataFrame(rows, columns=["user_id", "item_id", "cate_id", "time"])
def named(part, item):
    wanted = part[part["label"] == 1]
    return set(zip(wanted["user_id"], wanted[item]))
train, validation, test = (named(part, "target_item") for part in create_seq_features(frame.copy()))
print(f"create_seq_features: {len(test)} test rows, in train too {len(test & train)};",
      f"{len(validation)} validation rows, in train too {len(validation & train)}")
train, validation, test = (
    named(part, "target_item_id") for part in generate_seq_feature(frame.copy(), "user_id", "item_id", "time")
)
for length in (10, 50, 51, 60):
    users = np.flatnonzero(lengths == length)
    tested = len({user for user, _ in test} & set(users + 1))
    # every user and item occurs: the builders number both from 1
    last = {(user + 1, items[user, length - 1] + 1) for user in users}
    print(f"generate_seq_feature: users of {length} items: tested {tested} of {len(users)},",
          f"last item in any set {len(last & (train | validation | test))}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
