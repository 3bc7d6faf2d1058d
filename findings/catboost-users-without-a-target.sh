#!/usr/bin/env bash
# catboost==1.2.10 lightgbm==4.7.0 numpy==2.3.5 (Python 3.11)
#
# Behaviour: a user with nothing held out counts as 1 in LightGBM's NDCG and MAP and in CatBoost's NDCG and recall, and
# as 0 in CatBoost's precision, MAP and MRR. A model that ranks every target last has .5 in four metrics for the users
# that it cannot get wrong, and MAP of one and the same ranking is .5 in one library and 0 in the other.
#
# Expected: users without a target left out, or counted alike by all metrics.
#
# Seen:
#   a target each, LightGBM: ndcg@5 0.0, map@5 0.0
#   a target each, CatBoost: NDCG@5 0.0, RecallAt@5 0.0, PrecisionAt@5 0.0, MAP@5 0.0, MRR@5 0.0
#   one user without, LightGBM: ndcg@5 0.5, map@5 0.5
#   one user without, CatBoost: NDCG@5 0.5, RecallAt@5 0.5, PrecisionAt@5 0.0, MAP@5 0.0, MRR@5 0.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q catboost==1.2.10 lightgbm==4.7.0 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import catboost.utils
import lightgbm
import numpy as np
users = np.repeat([0, 1], 10)
for name, targets in (("a target each", (9, 19)), ("one user without", (9,))):
    held_out = np.zeros(20)
    held_out[list(targets)] = 1
    data, figures = lightgbm.Dataset(np.zeros((20, 1)), held_out, group=[10, 10]), {}
    settings = {"objective": "lambdarank", "metric": ["ndcg", "map"], "eval_at": [5], "verbosity": -1, "num_threads": 1}
    record = lightgbm.record_evaluation(figures)
    lightgbm.train(settings, data, 1, valid_sets=[data], callbacks=[record])
    found = {metric: figures["training"][f"{metric}@5"][0] for metric in ("ndcg", "map")}
    print(f"{name}, LightGBM:", ", ".join(f"{metric}@5 {value:.1f}" for metric, value in found.items()))
    scores = -np.tile(np.arange(10.0), 2)
    found = {metric: catboost.utils.eval_metric(held_out, scores, f"{metric}:top=5", group_id=users)[0]
             for metric in ("NDCG", "RecallAt", "PrecisionAt", "MAP", "MRR")}
    print(f"{name}, CatBoost:", ", ".join(f"{metric}@5 {value:.1f}" for metric, value in found.items()))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
