#!/usr/bin/env bash
# daisyrec==2.3.0 torch==2.13.0 pandas==2.3.3 numpy==1.26.4 scipy==1.16.3 scikit-learn==1.7.2 requests==2.34.2 (Python 3.11)
#
# Behaviour: test_method='utfo', each user's last fifth by time, counts on from the first row of a user as if all of the
# user's rows were neighbours. The Preprocessor of the same library sorts by time alone, so the rows between are other
# users': the test set names nearly every row, each some ninety times, and hardly a row is left to train on. Rows
# sorted by user first are split as expected.
#
# Expected: the same split of the same interactions in either order: 20 % to test, each once.
#
# Seen:
#   rows as preprocessed: 2000 rows, 179595 named for test (1983 distinct, 0.22 of them in a user's last fifth), 17 to train
#   sorted by user, time: 2000 rows, 359 named for test (359 distinct, 1.00 of them in a user's last fifth), 1641 to train
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile --no-deps daisyrec==2.3.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
"$folder/venv/bin/pip" install -q --no-compile torch==2.13.0 pandas==2.3.3 numpy==1.26.4 scipy==1.16.3 scikit-learn==1.7.2 requests==2.34.2 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import logging
import numpy as np
import pandas as pd
from daisy.utils.loader import Preprocessor
from daisy.utils.splitter import TestSplitter
names = {"UID_NAME": "user", "IID_NAME": "item", "TID_NAME": "timestamp", "INTER_NAME": "rating"}
config = {**names, "dataset": "own", "prepro": "origin", "binary_inter": True, "positive_threshold": None,
          "level": "ui", "metrics": ["ndcg"], "logger": logging.getLogger()}
rng = np.random.default_rng(0)
raw = pd.DataFrame({"user": rng.integers(0, 100, 2_000), "item": range(2_000), "rating": 1.0, "timestamp": range(2_000)})
by_time = Preprocessor(config).process(raw)
by_user = by_time.sort_values(["user", "timestamp"], ignore_index=True)
for order, frame in (("rows as preprocessed", by_time), ("sorted by user, time", by_user)):
    train, test = TestSplitter({**names, "test_method": "utfo", "test_size": 0.2}).split(frame)
    place = frame.groupby("user")["timestamp"].rank(pct=True).to_numpy()
    distinct = np.unique(test.astype(int))
    print(f"{order}: {len(frame)} rows, {len(test)} named for test ({len(distinct)} distinct,",
          f"{(place[distinct] > 0.8).mean():.2f} of them in a user's last fifth), {len(train)} to train")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
