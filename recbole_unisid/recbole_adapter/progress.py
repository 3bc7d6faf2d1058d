"""How far training is: a bar on a terminal, elsewhere a line a validation; one estimate of the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tqdm import tqdm

#: Runs that the same command does after this one, and the seconds that those before took on average.
_FURTHER: ContextVar[tuple[int, float | None]] = ContextVar("further", default=(0, None))


@contextmanager
def further_runs(number: int, seconds: float | None) -> Iterator[None]:
    """Count further runs of the same command into the estimate; `seconds` each, None if none is done yet."""
    token = _FURTHER.set((number, seconds))
    try:
        yield
    finally:
        _FURTHER.reset(token)


class Progress:
    """The progress of one run's epochs, counted from 1."""

    def __init__(self, title: str, epochs: int, done: int, show: bool) -> None:
        terminal = sys.stderr.isatty()
        self.title, self.epochs, self.first = title, epochs, done
        self.lines = show and not terminal
        self.started = time.monotonic()
        form = "{desc} |{bar}| {n:.1f}/{total_fmt} epochs [{elapsed}{postfix}]"
        self.bar = tqdm(
            total=epochs, initial=done, desc=title, bar_format=form, disable=not (show and terminal)
        )
        self.figures = ""

    def step(self, epochs: float) -> None:
        """So many epochs are done, with a fraction."""
        self.bar.n = min(epochs, self.epochs)
        if not self.bar.disable:
            self.bar.set_postfix_str(f"{self._left(epochs)}{self.figures}", refresh=False)
            self.bar.update(0)

    def validated(self, epochs: int, metric: str, score: float, best: float) -> None:
        """So many epochs are done and the last one is validated."""
        self.figures = f", {metric} {score:.4f}, best {best:.4f}"
        self.step(epochs)
        if self.lines:
            line = f"{self.title}: epoch {epochs} of {self.epochs}{self.figures}, {self._left(epochs)}"
            print(line, file=sys.stderr, flush=True)

    def _left(self, epochs: float) -> str:
        """At most so much time is left: training may end early, and the other runs' may."""
        number, seconds = _FURTHER.get()
        an_epoch = (time.monotonic() - self.started) / max(epochs - self.first, 1e-9)
        left = an_epoch * (self.epochs - epochs)
        if number:
            left += number * (an_epoch * self.epochs if seconds is None else seconds)
        whose = f" of all {number + 1} runs" if number else ""
        return f"at most {tqdm.format_interval(left)} left{whose}"
