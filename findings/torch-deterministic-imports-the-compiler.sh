#!/usr/bin/env bash
# torch==2.13.0 numpy==2.3.5 (Python 3.11)
#
# Behaviour: torch.use_deterministic_algorithms(True), which sets a flag, imports torch.compile's front and back end
# and SymPy, more than 500 modules, in a process that compiles nothing. A short command that asks for repeatable
# figures starts later for it.
#
# Expected: a flag; the compiler imported by what compiles.
#
# Seen:
#   import torch: torch._dynamo False, torch._inductor False, sympy False
#   use_deterministic_algorithms(True): torch._dynamo True, torch._inductor True, sympy True
#   more than 500 modules more: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 numpy==2.3.5 2>"$folder/pip" || { cat "$folder/pip"; exit 1; }
script=$(realpath "$0")
cd "$folder"
"$folder/venv/bin/python" -W ignore - >"$folder/seen" 2>"$folder/errors" <<'PYTHON' || { cat "$folder/errors"; exit 1; }
import sys
import torch
def look(words):
    names = ("torch._dynamo", "torch._inductor", "sympy")
    print(f"{words}:", ", ".join(f"{name} {name in sys.modules}" for name in names))
    return len(sys.modules)
before = look("import torch")
torch.use_deterministic_algorithms(True)
after = look("use_deterministic_algorithms(True)")
print("more than 500 modules more:", after - before > 500)
PYTHON
cat "$folder/seen"
diff <(sed -n 's/^#   //p' "$script") seen
