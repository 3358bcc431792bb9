"""Verdicts on events: by the rules of the documentation, over HTTP, and never shown to the sender."""

from __future__ import annotations

import json
import time
import typing as t

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.sandbox.ingest import ReceivedEvent
from target_cooladata.sandbox.schema import RESERVED, Schema
from target_cooladata.sandbox.validity import MAX_EVENT_BYTES, Judge, Rules
from tests.sandbox.examples import TIME_MS, event

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox_server import SandboxServer

DAY = 86_400_000
HOUR = 3_600_000


class Project:
    """A project in memory, for rules that need many events or another clock."""

    def __init__(self, **rules: t.Any) -> None:
        self.judge = Judge(Schema(), Rules(**rules))

    def __call__(self, value: t.Any, now_ms: int = TIME_MS) -> str:
        """Return the reason an event is invalid for, or else its status."""
        verdict = self.judge.judge(ReceivedEvent(json.dumps(value), value, 0), now_ms)
        return verdict.problems[0].reason if verdict.problems else verdict.status


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (event(event_name=None), "event_name is missing"),
        (event(user_id=None), "user_id is missing"),
        (event(user_id=""), "user_id is missing"),
        (event(event_timestamp_epoch=None), "event_timestamp_epoch is missing"),
        (event(event_timestamp_epoch=None, event_time_ts=TIME_MS), "event_timestamp_epoch is missing"),
        (event(user_id=7), "user_id is of type string"),
        (event(event_name=7), "event_name is of type string"),
        (event(event_timestamp_epoch=1350273990), "neither 13 digits nor a date"),
        (event(nested={"a": 1}), "nested JSON"),
        (event(listed=[]), "nested JSON"),
        (event(flag=True), "no Boolean type"),
        (event(huge=2**63), "more than 64 bits"),
        (event(**{"a.b": 1}), "'a.b' is not a letter"),
        (event(**{"1a": 1}), "is not a letter"),
        (event(ä=1), "is not a letter"),
        (event(**{"{x}a": 1}), "is not a letter"),
        (event(**{"{u}{s}a": 1}), "is not a letter"),
        (event(**{"": 1}), "is not a letter"),
        (event(sid="1"), "sid is a reserved word"),
        (event(SELECT="1"), "select is a reserved word"),
        (event(Twice="1", tWICE="2"), "differ only by case"),
        (event(USER_ID="u2"), "user_id is there in two spellings"),
        (event(long="x" * MAX_EVENT_BYTES), "at most 100000 bytes"),
        (7, "an event is a JSON object"),
        (None, "an event is a JSON object"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[-60:],
)
def test_an_event_is_invalid_and_its_good_neighbour_is_not(shared: SandboxServer, wrong: t.Any, words: str) -> None:
    (status, comment), good = shared.judge(wrong, event())
    assert (status, good) == ("invalid", ("valid", None))
    assert words in str(comment)


@pytest.mark.parametrize(
    "fine",
    [
        event(),
        event(event_timestamp_epoch=str(TIME_MS)),
        event(event_timestamp_epoch="2012-10-15T04:06:30"),
        event(event_name="Any name: with spaces & CAPITALS"),
        event(**{"{u}plan": "gold", "{s}basket": 3}),
        event(empty="", other=None, big=2**63 - 1, price=-1.5e300),
        {"Event_Name": "x", "USER_id": "u", "event_timestamp_EPOCH": TIME_MS},
        event(ip="", referals="2", qty="1", age=21, event_id="7", session_id="s"),
    ],
    ids=lambda value: json.dumps(value)[-60:],
)
def test_an_event_is_valid(shared: SandboxServer, fine: dict[str, t.Any]) -> None:
    assert shared.judge(fine) == [("valid", None)]


def test_all_problems_of_an_event_are_told_and_the_first_is_counted() -> None:
    verdict = Judge(Schema(), Rules()).judge(ReceivedEvent("", {"a": [], "b-c": 1}, 0), TIME_MS)
    assert [p.reason for p in verdict.problems] == [
        "nested_value",
        "bad_property_name",
        "missing_property",
        "missing_property",
        "missing_property",
    ]


def test_a_number_that_cannot_be_read_spoils_its_event_alone(shared: SandboxServer) -> None:
    before = shared.summary()["invalid_reasons"].get("unreadable_number", 0)
    body = b'{"events":[{"a":1e400},' + json.dumps(event()).encode() + b"]}"
    assert shared.post("/v3/key/track", body, content_type="application/json").json()["status"] is True
    assert shared.summary()["invalid_reasons"]["unreadable_number"] == before + 1


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (1, 2, "valid"),
        (1, 1.5, "valid"),
        (1.5, 1, "valid"),
        (1, "1", "wrong_type"),
        ("1", 1, "wrong_type"),
        ("1", 1.5, "wrong_type"),
        (1, None, "valid"),
        (1, "", "valid"),
        (None, "x", "valid"),
        ("x", True, "wrong_type"),
    ],
    ids=repr,
)
def test_the_first_value_of_a_property_fixes_its_type(first: t.Any, second: t.Any, status: str) -> None:
    project = Project()
    assert project(event() | {"p": first}) == "valid"
    assert project(event() | {"p": second}) == status


def test_a_fraction_spoils_an_integer_under_strict_numbers() -> None:
    project = Project(strict_numbers=True)
    assert [project(event(p=p)) for p in (1, 1.5, 2)] == ["valid", "wrong_type", "valid"]
    assert [project(event(q=q)) for q in (1.5, 1)] == ["valid", "valid"]


@pytest.mark.parametrize("key", ["age", "AGE", "{u}age", "{s}Age"])
def test_a_type_is_remembered_by_the_name_without_case_and_prefix(key: str) -> None:
    project = Project()
    assert project(event(Age=21)) == "valid"
    assert project(event(**{key: "21"})) == "wrong_type"
    assert project(event(**{key: 22})) == "valid"


def test_nothing_is_learned_from_an_invalid_event() -> None:
    project = Project()
    assert project(event(p=1, q=[])) == "nested_value"
    assert project(event(p="x")) == "valid"


def test_every_reserved_name_is_refused() -> None:
    assert {Project()(event(**{name: "x"})) for name in RESERVED} == {"reserved_property_name"}


def test_a_project_has_1500_event_names_and_case_makes_no_new_one() -> None:
    project = Project()
    assert {project(event(event_name=f"name {i}")) for i in range(1500)} == {"valid"}
    assert project(event(event_name="one more")) == "too_many_event_names"
    assert project(event(event_name="NAME 7")) == "valid"


def test_a_new_property_over_the_quota_is_refused_and_the_known_ones_are_not() -> None:
    project = Project(property_quota=2)
    assert project(event(a=1, b=2)) == "valid"
    assert project(event(a=1, c=2)) == "too_many_properties"
    assert project(event(a=1, b=2)) == "valid"


def test_no_time_is_out_of_range_unless_a_window_is_set() -> None:
    assert Project()(event(event_timestamp_epoch=10**12)) == "valid"
    assert Project()(event(event_timestamp_epoch=10**13 - 1)) == "valid"


@pytest.mark.parametrize(
    ("offset", "status"),
    [(-30 * DAY, "valid"), (-30 * DAY - 1, "time_out_of_range"), (HOUR, "valid"), (HOUR + 1, "time_out_of_range")],
)
def test_a_time_outside_the_window_is_out_of_range(offset: int, status: str) -> None:
    assert Project(past_days=30, future_hours=1)(event(event_timestamp_epoch=TIME_MS + offset)) == status


def test_the_window_is_a_setting_of_the_server(start_sandbox: Callable[..., SandboxServer]) -> None:
    now_ms = time.time_ns() // 1_000_000
    server = start_sandbox("--past-days", "30", "--future-hours", "1")
    times = (now_ms, now_ms - 31 * DAY, now_ms + 2 * HOUR)
    statuses = [status for status, _ in server.judge(*(event(event_timestamp_epoch=ms) for ms in times))]
    assert statuses == ["valid", "invalid", "invalid"]
    assert server.summary()["invalid_reasons"] == {"time_out_of_range": 2}


def test_a_project_on_server_time_needs_no_event_time_and_ignores_one(
    start_sandbox: Callable[..., SandboxServer],
) -> None:
    server = start_sandbox("--server-time")
    assert [s for s, _ in server.judge(event(event_timestamp_epoch=None), event(event_timestamp_epoch="?"))] == [
        "valid"
    ] * 2
    assert server.query("select count(*) from cooladata where date_range(last 1 hour)")["rows"] == [{"c": [{"v": 2}]}]


def test_a_locked_schema_refuses_new_event_names_and_drops_new_properties(
    start_sandbox: Callable[..., SandboxServer],
) -> None:
    learning = start_sandbox()
    assert learning.judge(event(age=1)) == [("valid", None)]
    assert learning.stop() == 0
    locked = start_sandbox("--schema-mode", "locked")
    assert locked.judge(event(age=1, new={"any": "thing"})) == [("valid", None)]
    assert [s for s, _ in locked.judge(event(event_name="logout"), event(age="1"))] == ["invalid", "invalid"]
    assert locked.summary()["invalid_reasons"] == {"unknown_event_name": 1, "wrong_type": 1}
    assert locked.ask("select new from cooladata where date_range(all)").status_code == 400


def test_new_names_keep_an_event_pending_while_they_are_learned() -> None:
    project = Project(learn_seconds=300)
    assert project(event(), TIME_MS) == "pending"
    assert project(event(), TIME_MS + 299_999) == "pending"
    assert project(event(), TIME_MS + 300_000) == "valid"
    assert project(event(new=1), TIME_MS + 300_000) == "pending"


def test_a_pending_event_becomes_valid_when_its_names_are_learned(start_sandbox: Callable[..., SandboxServer]) -> None:
    slow = start_sandbox("--learn-seconds", "3600")
    assert slow.judge(event()) == [("pending", None)]
    assert (slow.summary()["pending"], slow.summary()["valid"]) == (1, 0)
    assert slow.query("select count(*) from cooladata where date_range(all)")["rows"] == [{"c": [{"v": 0}]}]
    quick = start_sandbox("--learn-seconds", "0.2", db=slow.db.with_name("quick.db"))
    assert quick.track([event()]).json()["status"] is True
    deadline = time.monotonic() + 20
    while quick.summary()["pending"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (quick.summary()["pending"], quick.summary()["valid"]) == (0, 1)


def test_the_reply_never_tells_validity(shared: SandboxServer) -> None:
    answer = shared.track([event(event_id="good"), {"event_id": "bad"}])
    assert answer.json() == {"status": True, "results": {"good": {"event_id": "good"}, "bad": {"event_id": "bad"}}}


@given(
    st.dictionaries(
        st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([1])
    )
)
def test_no_event_is_too_odd_to_be_judged(value: dict[str, t.Any]) -> None:
    verdict = Judge(Schema(), Rules()).judge(ReceivedEvent(msgspec.json.encode(value).decode(), value, 0), TIME_MS)
    assert (verdict.status == "invalid") is bool(verdict.problems)
