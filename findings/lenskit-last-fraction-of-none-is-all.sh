#!/usr/bin/env bash
# lenskit==2025.8.1 torch==2.13.0 numpy==2.3.5 pandas==2.3.3 (Python 3.11)
#
# Behaviour: LastFrac(f) rounds f of a user's items and tests the last of them; where that is none, it tests all of
# them, and the user has no row to train on. With .2 these are users of two items, with .1 users of up to five:
# lists for them come from a model that never saw them. SampleFrac of the same fraction tests none of theirs.
#
# Expected: no item tested of such a user, or one; about a tenth of the interactions to test, not more than half.
#
# Seen:
#   LastFrac(0.2): tested of 2 items 2, of 3 items 1, of 5 items 1, of 12 items 2; all interactions 0.30; users without a row to train on 0.30
#   LastFrac(0.1): tested of 2 items 2, of 3 items 3, of 5 items 5, of 12 items 1; all interactions 0.56; users without a row to train on 0.80
#   SampleFrac(0.1): tested of 2 items 0, of 3 items 0, of 5 items 0, of 12 items 1; all interactions 0.04; users without a row to train on 0.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile lenskit==2025.8.1 torch==2.13.0 numpy==2.3.5 pandas==2.3.3 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import numpy as np
import pandas as pd
from lenskit.data import from_interactions_df
from lenskit.splitting import LastFrac, SampleFrac, sample_users
rng = np.random.default_rng(0)
lengths = np.repeat([2, 3, 5, 12], [30, 25, 25, 20])
rows = [(user, item, place) for user, length in enumerate(lengths)
        for place, item in enumerate(rng.choice(50, length, replace=False))]
data = from_interactions_df(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))
for method, fraction in ((LastFrac, 0.2), (LastFrac, 0.1), (SampleFrac, 0.1)):
    split = sample_users(data, len(lengths), method(fraction), rng=0)
    tested = np.zeros(len(lengths), dtype=int)
    for user, items in split.test:
        tested[user.user_id] = len(items)
    each = ", ".join(f"of {length} items {tested[lengths == length].mean():.0f}" for length in (2, 3, 5, 12))
    print(f"{method.__name__}({fraction}): tested {each}; all interactions {tested.sum() / lengths.sum():.2f};",
          f"users without a row to train on {np.mean(tested == lengths):.2f}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
