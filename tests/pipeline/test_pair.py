"""The tap's messages through the target into a real sandbox."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from tests.commands import Finished, run, write_config
from tests.settings_docs import ROOT
from tests.singer import APP_KEY

if t.TYPE_CHECKING:
    from tests.sandbox_server import SandboxServer

RunTap = t.Callable[..., Finished]
WriteRows = t.Callable[..., Path]


@pytest.fixture
def load(run_tap: RunTap, sandbox: SandboxServer, tmp_path: Path) -> t.Callable[..., tuple[Finished, Finished]]:
    """Run both halves, the tap's output being the target's input."""

    def pair(state: t.Any = None, **settings: t.Any) -> tuple[Finished, Finished]:
        folder = tmp_path / "target"
        folder.mkdir(exist_ok=True)
        usual = {"endpoint_url": sandbox.url, "app_key": APP_KEY, "rejects_path": str(folder / "rejects")}
        tap = run_tap(state, **settings)
        return tap, run("target-cooladata", "--config", write_config(folder, **usual), stdin=tap.stdout)

    return pair


def test_the_documented_sample_rows_arrive_as_four_events(
    load: t.Callable[..., tuple[Finished, Finished]], sandbox: SandboxServer
) -> None:
    tap, target = load(uris=str(ROOT / "data" / "seed.json"))
    assert (tap.code, target.code) == (0, 0)
    events = sandbox.events("valid")
    assert [event["event_timestamp_epoch"] for event in events] == [
        1350273990000, 1350273995000, 1350274000000, 1350274005000,
    ]  # fmt: skip
    assert all("ip" not in event for event in events)
    assert all((event["referals"], event["age"]) == ("2", 21) for event in events)
    assert sandbox.summary()["events"] == 4


def test_every_demo_row_arrives_with_every_value(
    load: t.Callable[..., tuple[Finished, Finished]], sandbox: SandboxServer
) -> None:
    load(uris=f"{ROOT / 'data'}/")
    times = ("event_time_ts", "event_timestamp_epoch", "event_timestamp")
    lines = [line for path in (ROOT / "data").glob("*.json") for line in path.read_text().splitlines()]
    rows = [{name: value for name, value in json.loads(line).items() if value not in ("", None)} for line in lines]
    expected = sorted(
        json.dumps({name: value for name, value in row.items() if name not in times}, sort_keys=True) for row in rows
    )
    found = sorted(
        json.dumps({name: value for name, value in event.items() if name not in times}, sort_keys=True)
        for event in sandbox.events("valid")
    )
    assert found == expected
    assert sandbox.summary()["invalid"] == 0


def ten_broken_ways(good: str) -> dict[str, str]:
    """Ten rows that are no events, by the reason they should be refused for."""
    return {
        "not_json": good[:-1],
        "not_object": f"[{good}]",
        "nested_value": good[:-1] + ',"a":{"b":1}}',
        "missing_event_name": '{"user_id":"u","event_time_ts":1350273990000}',
        "missing_user_id": '{"event_name":"e","user_id":"","event_time_ts":1350273990000}',
        "missing_time": '{"event_name":"e","user_id":"u"}',
        "bad_time": '{"event_name":"e","user_id":"u","event_time_ts":"tomorrow"}',
        "time_in_seconds": '{"event_name":"e","user_id":"u","event_time_ts":1350273990}',
        "bad_user_id": '{"event_name":"e","user_id":1.5,"event_time_ts":1350273990000}',
        "bad_event_name": '{"event_name":true,"user_id":"u","event_time_ts":1350273990000}',
    }


def test_of_a_thousand_rows_with_ten_broken_in_ten_ways_each_has_its_place(
    load: t.Callable[..., tuple[Finished, Finished]], rows: WriteRows, sandbox: SandboxServer, tmp_path: Path
) -> None:
    lines = [
        f'{{"event_name":"e","user_id":"ü{number}","event_time_ts":{1350273990000 + number}}}' for number in range(1000)
    ]
    broken = {}
    for number, (reason, line) in enumerate(ten_broken_ways(lines[0]).items(), start=1):
        lines[number * 97] = line
        broken[number * 97 + 1] = (reason, line)
    path = rows("events.json", *lines)
    tap, target = load()
    assert (tap.code, target.code) == (0, 0)
    assert sandbox.summary()["valid"] == target.report["events_delivered"] == 990
    rejects = [
        json.loads(line)
        for file in (tmp_path / "tap" / "rejects").rglob("*.json")
        for line in file.read_text().splitlines()
    ]
    content = path.read_bytes()
    assert {reject["line"]: (reject["reason"], reject["row"]) for reject in rejects} == broken
    for reject in rejects:
        assert content[reject["offset"] :].startswith(reject["row"].encode())
        assert reject["detail"]
        assert reject["source"].endswith("/in/events.json")
    report = tap.report
    assert (report["rows_read"], report["rows_sent"], report["rows_rejected"]) == (1000, 990, 10)
    assert report["rows_read"] == sum(report[f"rows_{end}"] for end in ("sent", "rejected", "blank", "filtered"))


def test_a_second_run_adds_nothing_and_a_new_file_adds_its_rows(
    load: t.Callable[..., tuple[Finished, Finished]], rows: WriteRows, sandbox: SandboxServer
) -> None:
    event = {"event_name": "e", "user_id": "u", "event_time_ts": 1350273990000}
    rows("a.json", event, event | {"x": 1})
    _, target = load()
    _, target = load(target.states[-1])
    assert sandbox.summary()["events"] == 2
    rows("b.json", event | {"y": 2})
    load(target.states[-1])
    assert sandbox.summary()["events"] == 3


def test_an_api_that_fails_and_breaks_off_loses_nothing(
    load: t.Callable[..., tuple[Finished, Finished]], sandbox: SandboxServer
) -> None:
    sandbox.set_faults({"kind": "status", "status": 503, "times": 3}, {"kind": "reset_after_store", "times": 1})
    tap, target = load(uris=f"{ROOT / 'data'}/")
    assert (tap.code, target.code) == (0, 0)
    assert sandbox.summary()["distinct"] == 424
    assert target.states[-1] == tap.messages[-1]["value"]


def test_the_rows_that_the_tap_quarantines_hold_up_no_state(
    load: t.Callable[..., tuple[Finished, Finished]], rows: WriteRows
) -> None:
    rows("a.json", '{"event_name":"e","user_id":"u","event_time_ts":1350273990000}', "broken")
    tap, target = load()
    assert target.states[-1] == tap.messages[-1]["value"]
    tap, _ = load(target.states[-1])
    assert tap.report["rows_read"] == 0
