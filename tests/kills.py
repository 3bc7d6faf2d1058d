"""Work in a process of its own that is killed (SIGKILL) at a step of its choice."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable


def killed_at(step: int, work: Callable[[], object], events: tuple[str, ...]) -> bool:
    """Do something in a process that kills itself before the n-th of the events that Python audits; whether it did."""
    child = os.fork()
    if not child:
        steps = itertools.count(1)

        def count(event: str, _: object) -> None:
            if event.startswith(events) and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        end_with(work)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


def end_with(work: Callable[[], object]) -> None:
    """Do something and end this process, a fork, with status 0 where it ended well."""
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)
