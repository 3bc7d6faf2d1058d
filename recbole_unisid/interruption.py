"""Being asked to stop (Ctrl-C, SIGTERM), even at a moment when Python loses the exception.

An exception that a signal raises is printed and dropped where no caller can take it: in a finaliser or a
callback of the garbage collector, for one. Training would go on as if nobody had asked. So the wish is
remembered, and heeded before the next batch. Whoever asks again at once is not heard: the first time is enough.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from types import FrameType

#: The signals that ask a command to stop.
STOPS = (signal.SIGINT, signal.SIGTERM)

#: Seconds after a wish in which further ones are not heard.
_ENOUGH = 1.0
#: When a signal asked to stop, by the monotonic clock.
_asked: float | None = None


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt and are remembered; an earlier wish is forgotten.

    For the main thread, where alone Python takes signal handlers.
    """
    global _asked
    _asked = None
    for number in STOPS:
        signal.signal(number, _stop)


def deafen() -> None:
    """From now on SIGINT and SIGTERM are ignored: a command has begun to end, and asking again adds a traceback."""
    with suppress(ValueError):  # not in the main thread, where no signal comes
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)


def heed() -> None:
    """Raise KeyboardInterrupt where a signal has asked for it since :func:`listen`."""
    if _asked is not None:
        raise KeyboardInterrupt


def _stop(_number: int, _frame: FrameType | None) -> None:
    global _asked
    now = time.monotonic()
    if _asked is None or now - _asked > _ENOUGH:
        _asked = now
        raise KeyboardInterrupt
