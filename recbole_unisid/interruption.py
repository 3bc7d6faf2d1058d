"""Being asked to stop (Ctrl-C, SIGTERM), even at a moment when Python loses the exception.

An exception that a signal raises is printed and dropped where no caller can take it: in a finaliser or a
callback of the garbage collector, for one. Training would go on as if nobody had asked. So the wish is
remembered, and heeded before the next batch.
"""

from __future__ import annotations

import signal
from types import FrameType

_asked = False


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt and are remembered; an earlier wish is forgotten.

    For the main thread, where alone Python takes signal handlers.
    """
    global _asked
    _asked = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def heed() -> None:
    """Raise KeyboardInterrupt where a signal has asked for it since :func:`listen`."""
    if _asked:
        raise KeyboardInterrupt


def _stop(_number: int, _frame: FrameType | None) -> None:
    global _asked
    _asked = True
    raise KeyboardInterrupt
