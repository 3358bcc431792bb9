"""CoolaData's `date_range(…)`: its words in, bounds in milliseconds out.

In: a query, in which the words between the parentheses are no SQL and have to be quoted before it can be parsed; then
those words and the clock. Out: the query with quoted words; the bounds. Refuses (`DateRangeError`) words not listed
here.

`all`, `yesterday` and `last 7 days` were seen in documentation and in clients. `today`, the other units and `between`
are assumptions, and so is that the last 7 days are the last 7 times 24 hours. Days are days in UTC.
"""

from __future__ import annotations

import re
import typing as t
from datetime import UTC, datetime, timedelta

import sqlglot
from sqlglot import Token, TokenType

NAME = "date_range"

_LAST = re.compile(r"last ([1-9][0-9]{0,3}) (hour|day|week|month)s?")
_BETWEEN = re.compile(r"between ([0-9]{4}-[0-9]{2}-[0-9]{2}) and ([0-9]{4}-[0-9]{2}-[0-9]{2})")
_UNITS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=30),
}
_DAY = timedelta(days=1)


class DateRangeError(Exception):
    """The words of a date range are not understood; `str()` says what can be said."""


class Bounds(t.NamedTuple):
    """A half-open interval, milliseconds since 1970 UTC; `None` where it is open."""

    start_ms: int | None
    end_ms: int | None


def quote_date_ranges(query: str, dialect: str) -> str:
    """Return the query with the words of each `date_range(…)` as a string literal.

    Raises:
        DateRangeError: the parentheses hold quotes or do not close.
        sqlglot.errors.SqlglotError: the query has no end of a string or such.
    """
    tokens = sqlglot.tokenize(query, read=dialect)
    parts, done = [], 0
    for i, token in enumerate(tokens[:-1]):
        if token.token_type != TokenType.VAR or token.text.lower() != NAME:
            continue
        if tokens[i + 1].token_type == TokenType.L_PAREN:
            start = tokens[i + 1].end + 1
            end = _closing(tokens[i + 2 :])
            words = query[start:end]
            if re.search(r"""['"`\\]""", words):
                msg = f"{NAME} holds words, not strings"
                raise DateRangeError(msg)
            parts += [query[done:start], f"'{words}'"]
            done = end
    return "".join([*parts, query[done:]])


def bounds_ms(words: str, now_ms: int) -> Bounds:
    """Return the interval some words stand for.

    Args:
        words: what stood between the parentheses.
        now_ms: the clock, milliseconds since 1970 UTC.

    Raises:
        DateRangeError: the words are not understood.
    """
    text = " ".join(words.lower().split())
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text == "all":
        return Bounds(None, None)
    if text == "today":
        return Bounds(_ms(today), _ms(today + _DAY))
    if text == "yesterday":
        return Bounds(_ms(today - _DAY), _ms(today))
    if last := _LAST.fullmatch(text):
        return Bounds(_ms(now - int(last[1]) * _UNITS[last[2]]), None)
    if between := _BETWEEN.fullmatch(text):
        try:
            first, final = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in between.groups())
        except ValueError as error:
            msg = f"{NAME}: there is no such day"
            raise DateRangeError(msg) from error
        return Bounds(_ms(first), _ms(final + _DAY))
    msg = (
        f"{NAME} is one of: all; today; yesterday; last N hours, days, weeks or months;"
        " between yyyy-mm-dd and yyyy-mm-dd"
    )
    raise DateRangeError(msg)


def _closing(tokens: list[Token]) -> int:
    for token in tokens:
        if token.token_type == TokenType.R_PAREN:
            return token.start
    msg = f"{NAME}( is not closed"
    raise DateRangeError(msg)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
