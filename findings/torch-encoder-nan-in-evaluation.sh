#!/usr/bin/env bash
# torch==2.13.0 numpy==2.3.5 (Python 3.11)
#
# Behaviour: histories padded on the left with a causal mask, as in SASRec, train in nn.TransformerEncoder and are NaN
# in evaluation: with eval() and no_grad() another kernel gives NaN for padded positions, which see nothing, and a
# second layer spreads it to all positions of the user. One layer alone, or gradients left on, hide it.
#
# Expected: the states of training, to rounding, at the positions that are not padded.
#
# Seen:
#   1 layer, training: NaN at no position, last state as in training: True
#   1 layer, eval(): NaN at no position, last state as in training: True
#   1 layer, eval(), no_grad(): NaN at [0, 1], last state as in training: True
#   2 layers, training: NaN at no position, last state as in training: True
#   2 layers, eval(): NaN at no position, last state as in training: True
#   2 layers, eval(), no_grad(): NaN at [0, 1, 2, 3], last state as in training: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import torch
from torch import nn
torch.manual_seed(0)
torch.set_num_threads(1)
history = torch.randn(1, 4, 8)
padding = torch.tensor([[True, True, False, False]])
causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
for count in (1, 2):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True)
    encoder = nn.TransformerEncoder(layer, count, enable_nested_tensor=False)
    trained = encoder(history, mask=causal, src_key_padding_mask=padding)
    for name in ("training", "eval()", "eval(), no_grad()"):
        encoder.train(name == "training")
        with torch.set_grad_enabled("no_grad" not in name):
            states = encoder(history, mask=causal, src_key_padding_mask=padding)
        places = states.isnan().any(dim=-1)[0].nonzero().ravel().tolist()
        same = torch.allclose(states[0, -1], trained[0, -1], atol=1e-5)
        print(f"{count} layer{'s' * (count > 1)}, {name}: NaN at {places or 'no position'},",
              f"last state as in training: {same}")
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
