"""Spellings of an event's time in, milliseconds since 1970 (UTC) out; `None` for everything else.

The spellings are those the CoolaData REST page lists for `event_timestamp_epoch`. A time without a zone is UTC, the
documented default of a project. None of the spellings carries a zone, so a time with one is refused.
"""

from __future__ import annotations

import re
import typing as t
from datetime import UTC, datetime

# "milliseconds (13 digits) only", says the REST page; so seconds (10 digits) are not guessed at.
_FIRST_13_DIGITS = 10**12
_LAST_13_DIGITS = 10**13 - 1
_DIGITS = re.compile(r"[0-9]{13}", re.ASCII)

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?P<month>[0-9]{{2}}|{'|'.join(_MONTHS)})"
# "day and month names may be 3-letter"; where the day's name stands is not shown. Assumption: in front.
_DAY_NAME = r"(?:(?:mon|tue|wed|thu|fri|sat|sun),? )?"
_TIME_OF_DAY = r"(?:T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}))?"
_SPELLINGS = tuple(
    re.compile(_DAY_NAME + pattern, re.IGNORECASE | re.ASCII)
    for pattern in (
        rf"(?P<year>[0-9]{{4}})-{_MONTH}-(?P<day>[0-9]{{2}})" + _TIME_OF_DAY,
        rf"(?P<year>[0-9]{{4}})/{_MONTH}/(?P<day>[0-9]{{2}})",
        rf"(?P<day>[0-9]{{2}})/{_MONTH}/(?P<year>[0-9]{{4}})",
        rf"(?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{4}})",
    )
)


def event_time_ms(value: t.Any) -> int | None:
    """Read one value of `event_timestamp_epoch`.

    Args:
        value: a number or a string, as JSON gave it.

    Returns:
        Milliseconds since 1970-01-01 UTC, or `None` if the value is no documented spelling of a time.
    """
    if type(value) is int:
        return value if _FIRST_13_DIGITS <= value <= _LAST_13_DIGITS else None
    if type(value) is not str:
        return None
    if _DIGITS.fullmatch(value):  # quoted digits: what CoolaData's own JavaScript tracker sends
        return event_time_ms(int(value))
    matches = (spelling.fullmatch(value) for spelling in _SPELLINGS)
    return next((_to_ms(match.groupdict()) for match in matches if match), None)


def _to_ms(parts: dict[str, str | None]) -> int | None:
    month = str(parts.pop("month")).lower()
    numbers = {name: int(digits) for name, digits in parts.items() if digits}
    numbers["month"] = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
    try:
        return round(datetime(**numbers, tzinfo=UTC).timestamp() * 1000)
    except ValueError:  # the 30th of February
        return None
