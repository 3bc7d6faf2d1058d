#!/usr/bin/env bash
# recbole==1.2.1 numpy==1.26.4 pandas==2.2.3 torch==2.13.0 (Python 3.11)
#
# Behaviour: eval_args is not merged with the documented defaults of sequential models (leave-one-out in the order of
# time): what is left out is filled with a random split (RS) in random order (RO). To say "full ranking in validation"
# alone turns a sequential model's evaluation into another protocol.
#
# Expected: keys that are not given keep the values of properties/overall.yaml and of sequential models.
#
# Seen:
#   nothing given:      order TO, split LS
#   mode alone given:   order RO, split RS
#   split alone given:  order RO, split LS
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q recbole==1.2.1 numpy==1.26.4 pandas==2.2.3 torch==2.13.0 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import sys
sys.argv = ["finding"]
from recbole.config import Config

given = {
    "nothing given:": {},
    "mode alone given:": {"eval_args": {"mode": "full"}},
    "split alone given:": {"eval_args": {"split": {"LS": "valid_and_test"}}},
}
for name, settings in given.items():
    quiet = {"train_neg_sample_args": None, "use_gpu": False}
    found = Config(model="SASRec", dataset="ml-100k", config_dict=settings | quiet)["eval_args"]
    print(f"{name:<19} order {found['order']}, split {next(iter(found['split']))}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
