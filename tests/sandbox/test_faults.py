"""Faults on demand: which call they take, what it gets, and whether it is stored."""

from __future__ import annotations

import json
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.sandbox.examples import event

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sandbox_server import SandboxServer


@pytest.fixture
def server(shared: SandboxServer) -> Iterator[SandboxServer]:
    """The module's sandbox, without faults before and after."""
    shared.clear_faults()
    yield shared
    shared.clear_faults()


def stored_by(server: SandboxServer, call: Callable[[], object]) -> int:
    """Return how many events a call added to the database."""
    before = int(server.summary()["events"])
    call()
    return int(server.summary()["events"]) - before


def outcomes(server: SandboxServer, calls: int) -> list[int]:
    return [server.track([event()]).status_code for _ in range(calls)]


@pytest.mark.parametrize(("kind", "stored"), [("reset_before_store", 0), ("reset_after_store", 1)])
def test_a_reset_gives_no_answer(server: SandboxServer, kind: str, stored: int) -> None:
    server.set_faults({"kind": kind, "times": 1})

    def call() -> None:
        with pytest.raises(requests.ConnectionError, match="reset by peer"):
            server.track([event()])

    assert stored_by(server, call) == stored
    assert outcomes(server, 1) == [200]


@pytest.mark.parametrize(
    ("kind", "body", "content_type"),
    [
        ("html", "<html>", "text/html; charset=utf-8"),
        ("empty", "", "application/json; charset=utf-8"),
        ("truncated", '{"status":tru', "application/json; charset=utf-8"),
    ],
)
def test_an_answer_that_cannot_be_read_comes_after_storing(
    server: SandboxServer, kind: str, body: str, content_type: str
) -> None:
    server.set_faults({"kind": kind})
    answers: list[requests.Response] = []
    assert stored_by(server, lambda: answers.append(server.track([event()]))) == 1
    assert (answers[0].status_code, answers[0].headers["Content-Type"]) == (200, content_type)
    assert answers[0].text[: len(body) or None].startswith(body)
    with pytest.raises(ValueError, match=r"line 1"):
        answers[0].json()


def test_status_false_is_a_readable_200_that_stores_nothing(server: SandboxServer) -> None:
    server.set_faults({"kind": "status_false"})
    answers: list[requests.Response] = []
    assert stored_by(server, lambda: answers.append(server.track([event(event_id="1")]))) == 0
    assert (answers[0].status_code, answers[0].json()) == (200, {"status": False, "results": {}})


@pytest.mark.parametrize("retry_after", [None, "2", 2, "Wed, 21 Oct 2026 07:28:00 GMT"], ids=repr)
def test_a_status_stores_nothing_and_may_say_when_to_retry(
    server: SandboxServer, retry_after: str | int | None
) -> None:
    server.set_faults({"kind": "status", "status": 429, "retry_after": retry_after})
    answers: list[requests.Response] = []
    assert stored_by(server, lambda: answers.append(server.track([event()]))) == 0
    expected = None if retry_after is None else str(retry_after)
    assert (answers[0].status_code, answers[0].headers.get("Retry-After")) == (429, expected)


@pytest.mark.parametrize("status", [204, 302, 400, 401, 403, 404, 408, 413, 425, 500, 503, 599])
def test_any_status_can_be_asked_for(server: SandboxServer, status: int) -> None:
    server.set_faults({"kind": "status", "status": status})
    assert outcomes(server, 1) == [status]


def test_a_redirect_can_name_its_target(server: SandboxServer) -> None:
    server.set_faults({"kind": "status", "status": 302, "location": "http://127.0.0.1:1/"})
    assert server.track([event()]).headers["Location"] == "http://127.0.0.1:1/"


def test_a_slow_call_is_stored_first_and_answered_truly(server: SandboxServer) -> None:
    server.set_faults({"kind": "slow", "delay_ms": 300})
    before = server.summary()["events"]
    answers: list[requests.Response] = []
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(lambda: answers.append(server.track([event(event_id="a")])))
        while server.summary()["events"] == before and time.monotonic() < started + 20:
            pass
        stored_while_waiting = not pending.done()
    assert stored_while_waiting
    assert time.monotonic() - started >= 0.3
    assert answers[0].json() == {"status": True, "results": {"a": {"event_id": "a"}}}


def test_slow_calls_do_not_wait_for_each_other(server: SandboxServer) -> None:
    server.set_faults({"kind": "slow", "delay_ms": 400})
    started = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: server.track([event()]), range(16)))
    assert time.monotonic() - started < 16 * 0.4 / 2


def test_a_fault_is_spent_after_so_many_times(server: SandboxServer) -> None:
    server.set_faults({"kind": "status", "status": 503, "times": 3})
    assert outcomes(server, 5) == [503, 503, 503, 200, 200]


def test_a_fault_can_take_each_third_call(server: SandboxServer) -> None:
    server.set_faults({"kind": "status", "status": 503, "every": 3})
    assert outcomes(server, 7) == [200, 200, 503, 200, 200, 503, 200]


def test_a_fault_can_let_the_first_calls_pass(server: SandboxServer) -> None:
    server.set_faults({"kind": "status", "status": 503, "after": 2, "every": 2, "times": 1})
    assert outcomes(server, 6) == [200, 200, 200, 503, 200, 200]


def test_the_first_fault_whose_turn_it_is_applies_and_the_next_counts_only_what_is_left(server: SandboxServer) -> None:
    server.set_faults({"kind": "status", "status": 500, "every": 2}, {"kind": "status", "status": 503, "every": 2})
    assert outcomes(server, 6) == [200, 500, 503, 500, 200, 500]


def test_chance_is_repeatable(server: SandboxServer) -> None:
    def run(seed: int) -> list[int]:
        server.set_faults({"kind": "status", "status": 503, "chance": 0.5, "seed": seed})
        return outcomes(server, 20)

    assert run(1) == run(1) != run(2)
    assert {200, 503} == set(run(1))


def test_applied_faults_are_counted(server: SandboxServer) -> None:
    server.set_faults({"kind": "status", "status": 503, "times": 1}, {"kind": "html", "every": 10})
    outcomes(server, 3)
    assert [(f["counted"], f["applied"]) for f in server.faults()] == [(3, 1), (2, 0)]


def test_a_list_replaces_the_one_before_and_delete_clears_it(server: SandboxServer) -> None:
    server.set_faults({"kind": "status", "status": 503})
    server.set_faults({"kind": "status", "status": 500})
    assert outcomes(server, 1) == [500]
    server.clear_faults()
    assert (outcomes(server, 1), server.faults()) == ([200], [])


def test_a_call_is_refused_while_it_holds_a_poisonous_event(server: SandboxServer) -> None:
    condition = {"property": "user_id", "in": ["bad1", "bad2"]}
    server.set_faults({"kind": "status", "status": 400, "when": condition})
    good, bad = event(user_id="good"), event(user_id="bad2")
    assert [server.track(events).status_code for events in ([good], [good, bad], [bad], [good, good])] == [
        200,
        400,
        400,
        200,
    ]


def test_a_call_is_refused_when_too_many_are_in_flight(server: SandboxServer) -> None:
    limit, refused = 4, {"kind": "status", "status": 429, "when": {"in_flight_over": 4}}
    server.set_faults(refused, {"kind": "slow", "delay_ms": 500})
    barrier = threading.Barrier(12)

    def call(_: int) -> int:
        barrier.wait()
        return server.track([event()]).status_code

    with ThreadPoolExecutor(12) as pool:
        codes = sorted(pool.map(call, range(12)))
    assert codes == [200] * limit + [429] * (12 - limit)
    assert outcomes(server, 1) == [200]


def test_faults_are_for_track_calls_with_a_known_key_only(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox("--app-key", "right")
    server.set_faults({"kind": "status", "status": 503, "times": 1})
    assert server.track([event()], app_key="wrong").status_code == 403
    assert server.get("/egw/2/right/config").status_code == 200
    assert server.track([event()], app_key="right").status_code == 503


def test_a_body_that_holds_no_events_is_refused_after_a_slow_fault_too(server: SandboxServer) -> None:
    server.set_faults({"kind": "slow", "delay_ms": 1}, {"kind": "status", "status": 503})
    assert server.post("/v3/key/track", b"?").json()["status"] is False
    server.set_faults({"kind": "status", "status": 503})
    assert server.post("/v3/key/track", b"?").status_code == 503


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ("?", "malformed"),
        ({"kind": "empty"}, "Expected `array`"),
        ([{"kind": "explode"}], "Invalid enum value 'explode' - at `$[0].kind`"),
        ([{}], "missing required field `kind`"),
        ([{"kind": "empty", "time": 1}], "unknown field `time`"),
        ([{"kind": "empty", "times": 0}], "`int` >= 1 - at `$[0].times`"),
        ([{"kind": "empty", "every": 0}], "`int` >= 1"),
        ([{"kind": "empty", "chance": 1.5}], "<= 1"),
        ([{"kind": "slow"}], "needs a `delay_ms`"),
        ([{"kind": "status"}], "needs a `status`"),
        ([{"kind": "status", "status": 99}], "`int` >= 200"),
        ([{"kind": "empty", "status": 503}], "no other kind has one"),
        ([{"kind": "empty", "retry_after": "1"}], "only kind `status`"),
        ([{"kind": "status", "status": 503, "retry_after": "1\r\nX: y"}], "one line"),
        ([{"kind": "empty", "when": {}}], "names no condition"),
        ([{"kind": "empty", "when": {"property": "a"}}], "go together"),
        ([{"kind": "empty", "when": {"in": [1]}}], "go together"),
        ([{"kind": "empty", "when": {"property": "a", "in": [[1]]}}], "$[0].when.in[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_a_list_that_is_not_understood_changes_nothing(server: SandboxServer, faults: t.Any, words: str) -> None:
    server.set_faults({"kind": "status", "status": 500})
    body = faults if isinstance(faults, str) else json.dumps(faults)
    answer = server.post("/sandbox/faults", body.encode())
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert outcomes(server, 1) == [500]
