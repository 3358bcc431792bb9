"""Spellings of an event's time."""

from __future__ import annotations

import calendar
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.sandbox.times import event_time_ms

if t.TYPE_CHECKING:
    from datetime import date

MIDNIGHT = 1350259200000  # 2012-10-15 00:00:00 UTC


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1350273990000, 1350273990000),
        ("1350273990000", 1350273990000),
        ("2012-10-15T04:06:30", 1350273990000),
        ("2012-10-15", MIDNIGHT),
        ("2012/10/15", MIDNIGHT),
        ("15/10/2012", MIDNIGHT),
        ("15-10-2012", MIDNIGHT),
        ("15-Oct-2012", MIDNIGHT),
        ("15/oct/2012", MIDNIGHT),
        ("2012-OCT-15T04:06:30", 1350273990000),
        ("Mon 15-Oct-2012", MIDNIGHT),
        ("Mon, 15/10/2012", MIDNIGHT),
    ],
    ids=repr,
)
def test_a_documented_spelling_is_read(value: t.Any, expected: int) -> None:
    assert event_time_ms(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        1350273990,  # seconds
        "1350273990",
        999999999999,  # 12 digits
        10000000000000,  # 14 digits
        -1350273990000,
        1350273990000.0,
        True,
        None,
        "",
        [],
        "2012-10-15 04:06:30",  # a space and no T
        "2012-10-15T04:06:30Z",  # no spelling has a zone
        "2012-10-15T04:06",
        "2012-13-15",
        "30-Feb-2012",
        "2012-10-15T24:00:00",
        "10/15/2012",  # the US order
        "1/1/2012",
        "15.10.2012",
        "0000-01-01",
        "١٢٣٤٥٦٧٨٩٠١٢٣",
        " 1350273990000",
        "2012-10-15\n",
    ],
    ids=repr,
)
def test_any_other_spelling_is_not(value: t.Any) -> None:
    assert event_time_ms(value) is None


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans())
def test_no_value_is_too_odd_to_be_looked_at(value: t.Any) -> None:
    time_ms = event_time_ms(value)
    assert time_ms is None or isinstance(time_ms, int)


@given(st.dates())
def test_every_day_is_read_the_same_in_every_order(day: date) -> None:
    y, m, d = f"{day.year:04}", f"{day.month:02}", f"{day.day:02}"
    times = {event_time_ms(text) for text in (f"{y}-{m}-{d}", f"{y}/{m}/{d}", f"{d}/{m}/{y}", f"{d}-{m}-{y}")}
    assert times == {calendar.timegm(day.timetuple()) * 1000}
