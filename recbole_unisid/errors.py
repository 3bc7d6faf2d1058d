"""The one exception that people see: a single line that says what, where and how to mend it."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Collection, Iterable


class UserError(ValueError):
    """Bad input from a person or a file, as one line: what is wrong, where, and how to mend it.

    The command line prints the message alone and exits with status 2. Line breaks, which names in a file may have,
    become spaces.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.splitlines()))


_ADVICE = {
    errno.ENOSPC: "; free some space, then the same command goes on",
    errno.EDQUOT: "; free some of your quota, then the same command goes on",
    errno.EACCES: "; choose a place that you may use",
    errno.EPERM: "; choose a place that you may use",
    errno.EROFS: "; choose a place that you may write to",
    errno.EMFILE: "; raise the limit of open files (ulimit -n)",
}


def machine_trouble(error: BaseException) -> str | None:
    """One line about an error of disk, permission or memory; None for any other error."""
    text = " ".join(str(error).split())
    of_rust = re.search(r"\(os error (\d+)\)", text)  # safetensors has errors of its own
    number = int(of_rust[1]) if of_rust else error.errno if isinstance(error, OSError) else None
    if number is not None:
        place = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return f"The system refuses{place}: {os.strerror(number)}{_ADVICE.get(number, '')}."
    signs = ("out of memory", "can't allocate memory", "not enough memory")
    if isinstance(error, MemoryError) or any(sign in text for sign in signs):
        return f"Not enough memory ({text[:150] or 'no more to be had'}); lower train_batch_size or eval_batch_size."
    return None


def shown(value: object) -> str:
    """A value as messages have it: cut where it is long."""
    text = str(value)
    return text if len(text) <= 200 else f"{text[:150]}... ({len(text):,} characters)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known names nearest to a misspelt one, a sentence with a leading blank; empty where none is near.

    >>> did_you_mean("SASRek", ["SASRec", "GRU4Rec"])
    ' Did you mean SASRec?'
    """
    by_fold = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_fold, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(by_fold[fold] for fold in near)}?" if near else ""


def check_choice(setting: str, value: str, known: Collection[str]) -> None:
    """Refuse a value that is none of those a setting may have."""
    if value not in known:
        raise UserError(f"{setting}={value!r} is none of {', '.join(known)}.{did_you_mean(value, known)}")
