#!/usr/bin/env bash
# transformers==5.24.0 torch==2.13.0 numpy==2.3.5 (Python 3.11)
#
# Behaviour: a T5 (TIGER's architecture) turned into float64 by .double() gives a float64 loss, but each of its layer
# norms sums in float32. The loss has eight digits, not sixteen, and a slope from two losses, as gradient checks take it
# with small steps, may be per cents off the gradient that backward() gives.
#
# Expected: float64 throughout, as torch's own RMSNorm of float64 is, or an error.
#
# Seen:
#   float64 norm of torch: off by less than 1e-14
#   float64 norm of T5: off by more than 1e-8, and its result says torch.float64
#   slope of T5's float64 loss, step 1e-6: off by more than 0.1 %
#   the same with norms that stay in float64: off by less than 0.001 %
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --no-compile transformers==5.24.0 torch==2.13.0 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5LayerNorm

torch.manual_seed(0)
config = T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0)
model = T5ForConditionalGeneration(config).double().eval()
tokens, answers = torch.randint(1, 50, (4, 12)), torch.randint(1, 50, (4, 5))
norm, states = model.encoder.final_layer_norm, torch.randn(1000, 32, dtype=torch.float64)

def exact(norm, states):
    return norm.weight * states / (states.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()

def bound(value, low, high, text):
    return f"less than {text[0]}" if value < low else f"more than {text[1]}" if value > high else f"{value:.0e}"

theirs = torch.nn.RMSNorm(32, eps=norm.variance_epsilon, dtype=torch.float64)(states)
off = [float((found - exact(norm, states)).detach().abs().max()) for found in (theirs, norm(states))]
words = "1e-14", "1e-8"
print("float64 norm of torch: off by", bound(off[0], 1e-14, 1e-8, words))
print(f"float64 norm of T5: off by {bound(off[1], 1e-14, 1e-8, words)}, and its result says {norm(states).dtype}")

def loss():
    return model(input_ids=tokens, labels=answers).loss

def furthest(step=1e-6):
    weight = model.shared.weight
    model.zero_grad()
    loss().backward()
    slopes, found = weight.grad.clone(), []
    for place in slopes.flatten().abs().topk(8).indices.tolist():
        numbers, values = weight.data.view(-1), []
        kept = numbers[place].item()
        for way in (step, -step):
            numbers[place] = kept + way
            values.append(loss().item())
        numbers[place] = kept
        slope = slopes.flatten()[place].item()
        found.append(abs((values[0] - values[1]) / (2 * step) / slope - 1))
    return max(found)

words = "0.001 %", "0.1 %"
print("slope of T5's float64 loss, step 1e-6: off by", bound(furthest(), 1e-5, 1e-3, words))
T5LayerNorm.forward = exact
print("the same with norms that stay in float64: off by", bound(furthest(), 1e-5, 1e-3, words))
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
