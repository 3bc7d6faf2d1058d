"""The one exception that people see: a single line that says what, where and how to mend it."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class UserError(ValueError):
    """Bad input from a person or a file.

    The command line prints the message alone, without a traceback, and exits with status 2.
    Write it as one line: what is wrong, where, and how to mend it.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known names nearest to a misspelt one.

    Parameters
    ----------
    name : str
        What was asked for.
    known : iterable of str
        Every name that would have been right.

    Returns
    -------
    str
        `` Did you mean X or Y?`` with a leading blank, or an empty string where nothing is near.

    Examples
    --------
    >>> did_you_mean("SASRek", ["SASRec", "GRU4Rec"])
    ' Did you mean SASRec?'
    """
    by_fold = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), by_fold, n=2, cutoff=0.6)
    return f" Did you mean {' or '.join(by_fold[fold] for fold in near)}?" if near else ""


def check_choice(setting: str, value: str, known: Collection[str]) -> None:
    """Refuse a value that is none of those a setting may have.

    Raises
    ------
    UserError
    """
    if value not in known:
        raise UserError(f"{setting}={value!r} is none of {', '.join(known)}.{did_you_mean(value, known)}")
