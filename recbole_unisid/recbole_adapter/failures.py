"""One line instead of a traceback for what RecBole, torch's compiler or a model of the user's own raises."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import recbole

from recbole_unisid.errors import UserError
from recbole_unisid.plugins.loading import TRACEBACK, failed_in, is_reference, one_line

_RECBOLE, _OURS = Path(recbole.__file__).parent, Path(__file__).parents[1]


@contextmanager
def failures_explained(config: Any) -> Iterator[None]:
    """Make one line of whatever RecBole raises in this block, or a model of the user's own.

    An error of ours keeps its traceback; that of the others is in the run's log, and on the screen with
    ``RECBOLE_UNISID_TRACEBACK=1``.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever RecBole's models raise: their bounds are their own
        name = config["model"]
        compiler = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
        # The last place of RecBole's code or of ours on the way to the error.
        steps = reversed(traceback.extract_tb(error.__traceback__))
        homes = _RECBOLE, _OURS
        frame = next((step for step in steps if any(map(Path(step.filename).is_relative_to, homes))), None)
        theirs = frame is not None and Path(frame.filename).is_relative_to(_RECBOLE)
        if os.environ.get(TRACEBACK) or not (theirs or compiler or is_reference(name)):
            raise
        logging.getLogger().info("the error in full", exc_info=error)  # into the run's log
        if compiler:
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(
                f"compile=True failed ({reason.strip()}); it needs a working C++ compiler (on CUDA Triton too). "
                "Leave compile off to run without."
            ) from error
        place = f" ({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})" if frame else ""
        whose = f"'{name}'" if is_reference(name) else f"RecBole ({name})"
        line = failed_in(error) or f"{one_line(error)}{place}"
        raise UserError(f"{whose} fails on these settings and files: {line}") from error
