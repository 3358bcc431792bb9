"""The spellings of an event's time, to integer milliseconds since 1970.

In: a JSON value. Out: milliseconds. Understood: an integer or quoted integer of 12 or 13 digits, RFC 3339 (Singer's
`date-time`), and the other spellings of CoolaData's REST page: a date with `-` or `/` between, year first or day first
(never month first), the month as a number or its three letters, with or without a time of day after `T` or a blank.
A time without a zone is in the zone given. Everything else is refused.
"""

from __future__ import annotations

import datetime as dt
import re

from target_cooladata.exceptions import Rejected

# 12 digits begin in 1973; a number with fewer is far more likely in seconds than an event of 1970.
MIN_MILLISECONDS = 100_000_000_000
MAX_MILLISECONDS = 9_999_999_999_999
_MIN_SECONDS = 100_000_000  # 1973

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_DATE_TIME = re.compile(
    r"""(?:[A-Za-z]{3},?\ )?                                      # Mon
        (?: (?P<y1>\d{4}) (?P<s1>[-/]) (?P<m1>\d{1,2}|[A-Za-z]{3}) (?P=s1) (?P<d1>\d{1,2})
          | (?P<d2>\d{1,2}) (?P<s2>[-/]) (?P<m2>\d{1,2}|[A-Za-z]{3}) (?P=s2) (?P<y2>\d{4}) )
        (?: [Tt\ ] (?P<hour>\d{1,2}) : (?P<minute>\d{2}) (?: : (?P<second>\d{2}) (?: [.,] (?P<fraction>\d+) )? )?
            \ ? (?P<zone> [Zz] | [+-]\d{2} (?: :? \d{2} )? )? )?""",
    re.VERBOSE | re.ASCII,
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_EXPECTED = "expected milliseconds since 1970 (13 digits), or a time such as 2012-10-15T04:06:30Z or 2012-10-15"


def to_milliseconds(value: object, zone: dt.tzinfo) -> int:
    """Read a time.

    Args:
        value: a JSON value.
        zone: for a time that names none.

    Raises:
        Rejected: `bad_time`, or `time_in_seconds`.
    """
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.isdigit()):
            return _from_text(text, zone)
        value = int(text[:20])
    if isinstance(value, int) and not isinstance(value, bool):
        return _checked(value)
    reason = "bad_time"
    detail = f"the time is a JSON {_kind(value)}; {_EXPECTED}"
    raise Rejected(reason, detail)


def _checked(value: int) -> int:
    if MIN_MILLISECONDS <= value <= MAX_MILLISECONDS:
        return value
    if _MIN_SECONDS <= value < MIN_MILLISECONDS:
        reason = "time_in_seconds"
        detail = f"the time {value} has {len(str(value))} digits and looks like seconds; {_EXPECTED}"
        raise Rejected(reason, detail)
    reason = "bad_time"
    detail = f"the time {value} is not in milliseconds since 1970; {_EXPECTED}"
    raise Rejected(reason, detail)


def _from_text(text: str, zone: dt.tzinfo) -> int:
    reason = "bad_time"
    found = _DATE_TIME.fullmatch(text)
    if not found:
        detail = f"the time {text[:60]!r} is in no spelling that is understood; {_EXPECTED}"
        raise Rejected(reason, detail)
    month = found["m1"] or found["m2"]
    try:
        moment = dt.datetime(
            int(found["y1"] or found["y2"]),
            _MONTHS[month.lower()] if month.isalpha() else int(month),
            int(found["d1"] or found["d2"]),
            int(found["hour"] or 0),
            int(found["minute"] or 0),
            int(found["second"] or 0),
            int((found["fraction"] or "0").ljust(6, "0")[:6]),
            tzinfo=_zone(found["zone"]) or zone,
        )
    except (ValueError, KeyError, OverflowError):
        detail = f"the time {text[:60]!r} is not in the calendar; {_EXPECTED}, day before month"
        raise Rejected(reason, detail) from None
    milliseconds = (moment - _EPOCH) // _MILLISECOND
    if not MIN_MILLISECONDS <= milliseconds <= MAX_MILLISECONDS:
        detail = f"the time {text[:60]!r} lies outside 1973 to 2286, which milliseconds of 12 and 13 digits can say"
        raise Rejected(reason, detail)
    return milliseconds


def _zone(text: str | None) -> dt.tzinfo | None:
    if not text:
        return None
    if text in "Zz":
        return dt.UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = dt.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return dt.timezone(-offset if text[0] == "-" else offset)


def _kind(value: object) -> str:
    kinds = {bool: "boolean", float: "number with a fraction", dict: "object", list: "array"}
    return kinds.get(type(value), "null")
