"""Mutation testing: mutmut 3 with the settings of setup.cfg, and functions under ``@torch.no_grad()`` mutated too.

python .ci/mutation.py run --max-children 1    mutate, run the tests of each function; can be stopped and resumed
python .ci/mutation.py results                 the mutants that survived
python .ci/mutation.py show NAME               what one of them changed

mutmut passes over every decorated function, lest its decorator does something twice; ``no_grad`` does not, and
half of the quantiser stands under it.
"""

from __future__ import annotations

import libcst
from mutmut.__main__ import cli
from mutmut.mutation.file_mutation import MutationVisitor

_skip = MutationVisitor._skip_node_and_children


def _skip_unless_no_grad(self: MutationVisitor, node: libcst.CSTNode) -> bool:
    if isinstance(node, libcst.FunctionDef) and len(node.decorators) == 1:
        decorator = libcst.Module([]).code_for_node(node.decorators[0].decorator)
        if decorator == "torch.no_grad()":
            return False
    return _skip(self, node)


MutationVisitor._skip_node_and_children = _skip_unless_no_grad

if __name__ == "__main__":
    cli()
