"""The words of `date_range(…)`."""

from __future__ import annotations

import pytest

from target_cooladata.sandbox.date_range import DateRangeError, bounds_ms, quote_date_ranges

NOW = 1350273990000  # 2012-10-15 04:06:30 UTC
MIDNIGHT = 1350259200000
DAY = 86_400_000


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("all", (None, None)),
        (" ALL ", (None, None)),
        ("today", (MIDNIGHT, MIDNIGHT + DAY)),
        ("yesterday", (MIDNIGHT - DAY, MIDNIGHT)),
        ("last 7 days", (NOW - 7 * DAY, None)),
        ("last 1 day", (NOW - DAY, None)),
        ("Last  2\n Weeks", (NOW - 14 * DAY, None)),
        ("last 3 hours", (NOW - DAY // 8, None)),
        ("last 2 months", (NOW - 60 * DAY, None)),
        ("between 2012-10-15 and 2012-10-16", (MIDNIGHT, MIDNIGHT + 2 * DAY)),
    ],
)
def test_words_stand_for_an_interval(words: str, expected: tuple[int | None, int | None]) -> None:
    assert bounds_ms(words, NOW) == expected


@pytest.mark.parametrize(
    "words", ["", "7 days", "last 0 days", "last 99999 days", "last seven days", "between 2012-02-30 and 2012-03-01"]
)
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(DateRangeError):
        bounds_ms(words, NOW)


def test_only_the_words_of_a_call_are_quoted() -> None:
    query = "select 'date_range(all)', date_range from x where DATE_RANGE (last 7 days) and y = ')'"
    quoted = "select 'date_range(all)', date_range from x where DATE_RANGE ('last 7 days') and y = ')'"
    assert quote_date_ranges(query, "bigquery") == quoted


@pytest.mark.parametrize("call", ["date_range('all')", "date_range(all\\)", "date_range(`all`)", "date_range(all"])
def test_a_call_that_could_end_its_own_quotes_is_refused(call: str) -> None:
    with pytest.raises(DateRangeError):
        quote_date_ranges(f"x where {call}", "bigquery")
