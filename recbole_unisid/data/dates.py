"""Times of a data set as dates that people read, in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_FIRST, _LAST = 315_532_800, 4_102_444_800  # 1980 and 2100: other numbers are of another unit, or positions


def is_date(seconds: float) -> bool:
    """Whether a time may be seconds since 1970, between 1980 and 2100."""
    return _FIRST <= seconds < _LAST


def iso_date(seconds: float) -> str:
    """The day of what may be seconds since 1970, the number itself for anything else.

    >>> iso_date(1_396_310_400.5), iso_date(1_396_310_400_123)
    ('2014-04-01', '1396310400123')
    """
    return _moment(seconds).date().isoformat() if is_date(seconds) else f"{seconds:.15g}"


def iso_moment(seconds: float) -> str:
    """As :func:`iso_date`, with the time of the day unless a day begins.

    >>> iso_moment(1_396_310_400), iso_moment(1_396_345_678), iso_moment(1_396_345_678.25), iso_moment(7)
    ('2014-04-01', '2014-04-01 09:47:58', '2014-04-01 09:47:58.250', '7')
    """
    if not is_date(seconds) or seconds % 86_400 == 0:
        return iso_date(seconds)
    digits = "milliseconds" if seconds % 1 else "seconds"
    return _moment(seconds).replace(tzinfo=None).isoformat(" ", digits)


#: A moment in the description of a split, followed by a bracket.
_FROM = re.compile(r"from (\d+(?:\.\d+)?) \(")


def with_dates(description: str) -> str:
    """The description of a global time split, with its moments as dates beside the exact numbers.

    >>> with_dates("test from 1396310400 (0.1)"), with_dates("test from 17 (0.1)")
    ('test from 2014-04-01 UTC (time 1396310400; 0.1)', 'test from 17 (0.1)')
    """

    def dated(found: re.Match[str]) -> str:
        time = float(found[1])
        return f"from {iso_moment(time)} UTC (time {found[1]}; " if is_date(time) else found[0]

    return _FROM.sub(dated, description)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
