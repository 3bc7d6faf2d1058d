"""Rules for values that people give: numbers within bounds, words of a choice, lists, kinds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol


class Rule(Protocol):
    """What a value must be; ``str`` of it completes the sentence "n_heads=0 must be ..."."""

    def fits(self, value: Any) -> bool:
        """Whether a value keeps the rule."""


@dataclass(frozen=True)
class Number:
    """A number between two bounds, which belong to it unless it must lie ``above`` the one or ``below`` the other."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    above: bool = False
    below: bool = False

    def fits(self, value: Any) -> bool:
        """Whether a value is such a number; true and false are none, nor are infinities."""
        kind = Integral if self.whole else Real
        if isinstance(value, bool) or not isinstance(value, kind):
            return False
        number = float(value)
        over = number > self.low if self.above else number >= self.low
        under = number < self.high if self.below else number <= self.high
        return math.isfinite(number) and over and under

    def __str__(self) -> str:
        bounds = []
        if self.low > -math.inf:
            bounds.append(f"{'above' if self.above else 'of at least'} {self.low:,.12g}")
        if self.high < math.inf:
            bounds.append(f"{'below' if self.below else 'at most'} {self.high:,.12g}")
        return " ".join(["a whole number" if self.whole else "a number", " and ".join(bounds)]).strip()


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]
    any_case: bool = False

    def fits(self, value: Any) -> bool:
        """Whether a value is one of the words."""
        return isinstance(value, str) and (value.lower() if self.any_case else value) in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class Kind:
    """A value of some type."""

    types: tuple[type, ...]
    words: str

    def fits(self, value: Any) -> bool:
        """Whether a value is of one of the types."""
        return isinstance(value, self.types)

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Listed:
    """A list whose members keep one rule, given as :func:`as_list` reads it."""

    member: Rule

    def fits(self, value: Any) -> bool:
        """Whether a value is such a list."""
        members = as_list(value) or []
        return len(members) > 0 and all(self.member.fits(member) for member in members)

    def __str__(self) -> str:
        return f"a list, each of it {self.member}"


COUNT = Number(1, whole=True)
FLAG, TEXT = Kind((bool,), "true or false"), Kind((str,), "text")


def as_list(value: Any) -> list[Any] | None:
    """Read a setting that is a list, given as one, as one value or as values with commas between."""
    if value is None:
        return None
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def rule_of(default: Any, whole: bool = False) -> Rule | None:
    """What a default tells of the kind of its values.

    Parameters
    ----------
    default : object
        A number, true or false, text, or a sequence of counts.
    whole : bool
        Whether a whole number as default means whole numbers only.

    Returns
    -------
    Rule or None
        None where the default tells nothing.

    Examples
    --------
    >>> print(rule_of(5, whole=True), "/", rule_of(0.5), "/", rule_of(False))
    a whole number / a number / true or false
    """
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, (int, float)):
        return Number(whole=whole and isinstance(default, int))
    if isinstance(default, str):
        return TEXT
    return Listed(COUNT) if isinstance(default, tuple) else None
