"""Mistakes in `stream_maps`: one line that names stream and property, and nothing of the event."""

from __future__ import annotations

import os
import typing as t

import pytest

from tap_coolafile.exceptions import SettingError
from tests.tap.conftest import Run, Workplace, event

HEAD = "stream_maps: property 'p' of stream 'events' cannot be used"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"p": "int(("}, f"{HEAD}: this is no expression of Python"),
        ({"q": "user_id", "p": "foo(user_id)"}, f"{HEAD} at PATH line 2: there is no function 'foo'"),
        ({"q": "user_id", "p": "nowhere + 1"}, f"{HEAD} at PATH line 2: the row has no property 'nowhere'"),
        ({"p": "int(note)"}, f"{HEAD} at PATH line 2: ValueError"),
        ({"p": "note.sesame"}, f"{HEAD} at PATH line 2: a value has no 'sesame'"),
        ({"p": "int(n) ** 9 ** 9"}, f"{HEAD} at PATH line 2: NumberTooHigh"),
        ({"p": "n / 0"}, f"{HEAD} at PATH line 2: DivisionByZero"),
        ({"p": ""}, f"{HEAD}: IndexError"),
        ({"__filter__": "foo("}, HEAD.replace("'p'", "'__filter__'") + ": this is no expression of Python"),
        ({"__filter__": "foo(n)"}, HEAD.replace("'p'", "'__filter__'") + " at PATH line 2: there is no function 'foo'"),
        ({"__key_properties__": ["p"]}, HEAD.replace("property 'p'", "the mapping") + ": StreamMapConfigError"),
    ],
)
def test_a_mistake_is_told_with_stream_and_property(place: Workplace, rules: t.Any, words: str) -> None:
    path = place.write("a.json", "{broken", event(1, note="sesame street", n=1.5))
    with pytest.raises(SettingError) as told:
        place.sync(stream_maps={"events": rules})
    assert str(told.value) == words.replace("PATH", f"file://{path}")


def test_a_mistake_in_an_alias_is_told_too(place: Workplace) -> None:
    place.write("a.json", event(1))
    with pytest.raises(SettingError, match="property 'p' of stream 'events' cannot be used: this is no expression"):
        place.sync(stream_maps={"copy": {"__source__": "events", "p": "("}, "events": {"q": "user_id"}})


def test_a_run_that_ends_at_a_mistake_says_so_in_one_line_and_accounts_for_what_it_wrote(place: Workplace) -> None:
    rows = [event(n, note="7") for n in range(1500)]
    rows[1200] = event(1200, note="sesame")
    path = place.write("a.json", *rows)
    maps = {"events": {"n": "int(note)"}}
    run = place.run(stream_maps=maps, state_interval_rows=500, env=os.environ | {"TAP_COOLAFILE_LOGLEVEL": "DEBUG"})
    assert run.code == 1
    (line,) = run.complaints
    assert line.endswith(f"property 'n' of stream 'events' cannot be used at file://{path} line 1201: ValueError")
    assert "sesame" not in run.log
    assert run.report["outcome"] == "failed"
    assert run.report["rows_read"] == run.report["rows_sent"] == len(run.users) == 1200
    states = [at for at, message in enumerate(run.messages) if message["type"] == "STATE"]
    acknowledged = Run(b"\n".join(run.lines[: states[-1]])).users
    again = place.sync(state=run.state, stream_maps={"events": {"m": "note"}})
    assert acknowledged + again.users == [f"u{n}" for n in range(1500)]


def test_what_a_filter_gives_is_logged_at_no_level(place: Workplace) -> None:
    place.write("a.json", event(1, note="sesame"))
    run = place.run(
        stream_maps={"events": {"__filter__": "note"}}, env=os.environ | {"TAP_COOLAFILE_LOGLEVEL": "DEBUG"}
    )
    assert run.users == ["u1"]
    assert "DEBUG" in run.log
    assert "sesame" not in run.log


def test_streams_that_the_maps_do_not_name_can_be_left_out(place: Workplace) -> None:
    place.write("a.json", event(1))
    run = place.sync(stream_maps={"__else__": None})
    assert [message["type"] for message in run.messages if message["type"] != "STATE"] == []
    assert run.report["rows_filtered"] == 1


def test_a_mapping_that_cannot_be_used_stops_before_anything_is_written(place: Workplace) -> None:
    place.write("a.json", event(1))
    run = place.run(stream_maps={"events": {"n": "int(("}})
    assert (run.code, run.messages) == (1, [])
    assert [line.split("| ")[-1] for line in run.complaints] == [
        "stream_maps: property 'n' of stream 'events' cannot be used: this is no expression of Python"
    ]


@pytest.mark.parametrize("rules", [{"p": 5}, {"__filter__": 5}, {"__else__": "sesame"}, "sesame", 5])
def test_rules_that_are_none_are_refused_by_the_name_of_the_setting(place: Workplace, rules: t.Any) -> None:
    run = place.run(stream_maps={"events": rules})
    (line,) = run.complaints
    assert line.split("| ")[-1].startswith("stream_maps")
    assert "sesame" not in run.log
