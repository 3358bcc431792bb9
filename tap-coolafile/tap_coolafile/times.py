"""Event times: in goes a value as it stands in a row, out come milliseconds since 1970 UTC, as an integer.

Accepts a 13-digit number, the same in quotes, `YYYY-MM-DD[ T]HH:MM:SS[.fff][Z|±hh:mm]` and `YYYY-MM-DD`. Refuses
everything else, a 10-digit number (seconds) by name: nothing is guessed.
"""

from __future__ import annotations

import datetime as dt
import re
import typing as t
import zoneinfo

TIME_KEYS: t.Final = ("event_time_ts", "event_timestamp_epoch", "event_timestamp")
"""Spellings of the property, in files and REST calls; the first that holds a value wins, and is the one emitted."""

MIN_MS = 1_000_000_000_000
MAX_MS = 9_999_999_999_999
"""CoolaData REST page: "milliseconds (13 digits) only"."""

_TEXT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_SECONDS = {f":{second:02}": second * 1000 for second in range(60)}
_MAX_MINUTES = 50_000


class NotATimeError(ValueError):
    """The value is no time in any accepted spelling; `seconds` tells a 10-digit number from the rest."""

    def __init__(self, *, seconds: bool = False) -> None:
        super().__init__("seconds" if seconds else "no accepted spelling")
        self.seconds = seconds


class Clock:
    """Reads times; those without a zone are taken in `zone` (an IANA name).

    A local time that happens twice is its first occurrence, as Python's `fold=0`.
    """

    def __init__(self, zone: str) -> None:
        self._zone: dt.tzinfo = dt.UTC if zone == "UTC" else zoneinfo.ZoneInfo(zone)
        # Rows of a file share their minutes; looking one up costs a tenth of parsing it.
        self._minutes: dict[str, int] = {}

    def read(self, value: t.Any) -> int:
        """Milliseconds of `value`.

        Raises:
            NotATimeError: `value` is no time.
        """
        if type(value) is str:
            return self._text(value)
        if type(value) is int:
            return self._number(value)
        raise NotATimeError

    def known(self, text: str) -> int | None:
        """Milliseconds of a text whose minute was read before; None says only that it was not."""
        minute = self._minutes.get(text[:16])
        return None if minute is None or (second := _SECONDS.get(text[16:])) is None else minute + second

    def _number(self, value: int) -> int:
        if MIN_MS <= value <= MAX_MS:
            return value
        raise NotATimeError(seconds=MIN_MS <= value * 1000 <= MAX_MS)

    def _text(self, value: str) -> int:
        if (ms := self.known(value)) is not None:
            return ms
        if value.isascii() and value.isdigit() and len(value) <= 13:  # noqa: PLR2004 - digits of MAX_MS
            return self._number(int(value))
        ms = self._parsed(value)
        self._remember(value)
        return ms

    def _parsed(self, value: str) -> int:
        parts = _TEXT.fullmatch(value)
        if parts is None:
            raise NotATimeError
        day, clock, fraction, zone = parts.groups()
        try:
            when = dt.datetime.fromisoformat(f"{day}T{clock or '00:00:00'}{zone or ''}")
            if when.tzinfo is None:
                when = when.replace(tzinfo=self._zone)
            ms = (when - _EPOCH) // _MILLISECOND
        except (ValueError, OverflowError):
            raise NotATimeError from None
        return ms + int((fraction or "0")[:3].ljust(3, "0"))

    def _remember(self, value: str) -> None:
        """Keep the minute of a plain local time, unless the zone shifts inside it."""
        if len(value) != 19:  # noqa: PLR2004 - YYYY-MM-DD HH:MM:SS
            return
        minute = value[:16]
        first, last = self._parsed(minute + ":00"), self._parsed(minute + ":59")
        if last - first == _SECONDS[":59"]:
            if len(self._minutes) >= _MAX_MINUTES:
                self._minutes.clear()
            self._minutes[minute] = first
