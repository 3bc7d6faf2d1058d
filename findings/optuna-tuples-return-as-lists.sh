#!/usr/bin/env bash
# optuna==5.0.0 SQLAlchemy==2.0.45 (Python 3.11)
#
# Behaviour: a categorical choice among tuples (codebook sizes, say) is a tuple to the trial and a list in the stored
# study, and the study cannot go on: the stored choices differ from the given ones.
#
# Expected: the choice that was given, and a study that resumes.
#
# Seen:
#   in the trial: tuple
#   in the stored study: list
#   the second start: CategoricalDistribution does not support dynamic value space.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q optuna==5.0.0 SQLAlchemy==2.0.45 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
def study():
    return optuna.create_study(storage="sqlite:///study.db", study_name="sizes", load_if_exists=True,
                               sampler=optuna.samplers.RandomSampler(seed=0))
def objective(trial):
    chosen = trial.suggest_categorical("codebook_sizes", [(256, 256), (128, 128, 128)])
    print("in the trial:", type(chosen).__name__)
    return 0.0
study().optimize(objective, n_trials=1)
print("in the stored study:", type(study().trials[0].params["codebook_sizes"]).__name__)
try:
    study().optimize(objective, n_trials=1)
except ValueError as error:
    print("the second start:", error)
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
