from __future__ import annotations

import contextlib
import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.exceptions import Rejected
from target_cooladata.times import to_milliseconds

UTC = ZoneInfo("UTC")
SEED = 1_350_273_990_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SEED, SEED),
        (str(SEED), SEED),
        (f" {SEED} ", SEED),
        ("2012-10-15 04:06:30", SEED),
        ("2012-10-15T04:06:30", SEED),
        ("2012-10-15T04:06:30Z", SEED),
        ("2012-10-15t04:06:30z", SEED),
        ("2012-10-15T04:06:30.250Z", SEED + 250),
        ("2012-10-15T04:06:30.123999999999Z", SEED + 123),
        ("2012-10-15T04:06:30.123456789Z", SEED + 123),
        ("2012-10-15T06:06:30+02:00", SEED),
        ("2012-10-15T06:06:30+0200", SEED),
        ("2012-10-14 23:06:30-05", SEED),
        ("2012-10-15 04:06", SEED - 30_000),
        ("2012-10-15", 1_350_259_200_000),
        ("2012/10/15", 1_350_259_200_000),
        ("15/10/2012", 1_350_259_200_000),
        ("15-10-2012", 1_350_259_200_000),
        ("15-Oct-2012", 1_350_259_200_000),
        ("Mon 15/Oct/2012 04:06:30", SEED),
        ("2012-oct-15", 1_350_259_200_000),
        ("1999-12-31", 946_598_400_000),
    ],
    ids=repr,
)
def test_a_documented_spelling_is_understood(value: object, expected: int) -> None:
    assert to_milliseconds(value, UTC) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1_350_273_990, "time_in_seconds"),
        ("1350273990", "time_in_seconds"),
        (0, "bad_time"),
        (-1, "bad_time"),
        (13_502_739_900_000, "bad_time"),
        (10**30, "bad_time"),
        (True, "bad_time"),
        (1.5, "bad_time"),
        ([], "bad_time"),
        ({}, "bad_time"),
        ("yesterday", "bad_time"),
        ("2012-13-01", "bad_time"),
        ("10/15/2012", "bad_time"),  # month first is not guessed
        ("2012-10/15", "bad_time"),
        ("2012-10-15T25:00:00Z", "bad_time"),
        ("2012-10-15T04:06:30+99:00", "bad_time"),
        ("0001-01-01", "bad_time"),
        ("1960-01-01", "bad_time"),
        ("²", "bad_time"),
    ],
    ids=repr,
)
def test_anything_else_is_refused_with_its_reason(value: object, reason: str) -> None:
    with pytest.raises(Rejected) as verdict:
        to_milliseconds(value, UTC)
    assert verdict.value.reason == reason


def test_a_time_without_a_zone_is_in_the_zone_of_the_settings() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert to_milliseconds("2012-10-15 06:06:30", berlin) == SEED
    assert to_milliseconds("2012-10-15 04:06:30Z", berlin) == SEED


@given(st.datetimes(dt.datetime(1974, 1, 1), dt.datetime(2200, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - the zones are drawn apart
def test_what_python_writes_is_read_back_to_the_millisecond(moment: dt.datetime) -> None:
    if moment.utcoffset() is not None and moment.utcoffset() % dt.timedelta(minutes=1):  # type: ignore[operator]  # just told apart
        return
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert to_milliseconds(moment.isoformat(), UTC) == (moment - epoch) // dt.timedelta(milliseconds=1)


@given(st.text(max_size=30))
def test_no_text_crashes(text: str) -> None:
    with contextlib.suppress(Rejected):
        to_milliseconds(text, UTC)
