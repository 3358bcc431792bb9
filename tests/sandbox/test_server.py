"""The sandbox's paths: CoolaData's and its own."""

from __future__ import annotations

import json
import resource
import socket
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.examples import event

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox_server import SandboxServer


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_events_are_taken_under_every_version_and_unknown_parameters_are_ignored(
    shared: SandboxServer, version: str
) -> None:
    body = json.dumps({"events": [event(event_id="x")]}).encode()
    answer = shared.post(f"/{version}/key/track?r=123&x", body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert answer.json() == {"status": True, "results": {"x": {"event_id": "x"}}}


@pytest.mark.parametrize("path", ["/v4/key/track", "/v3/track", "/v3/key/track/", "/"])
def test_other_paths_are_not_found(shared: SandboxServer, path: str) -> None:
    assert shared.post(path, b'{"events":[]}').status_code == 404


def test_events_are_not_taken_by_get(shared: SandboxServer) -> None:
    assert shared.get("/v3/key/track").status_code == 405


def test_an_unknown_app_key_is_forbidden_and_nothing_is_stored(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox("--app-key", "first", "--app-key", "second")
    codes = [server.track([event()], app_key=key).status_code for key in ("first", "second", "third", "FIRST")]
    assert codes == [200, 200, 403, 403]
    assert server.get("/egw/2/third/config").status_code == 403
    assert (server.summary()["calls"], server.summary()["events"]) == (2, 2)


def test_the_config_tells_the_server_s_clock(shared: SandboxServer) -> None:
    before = time.time_ns() // 1_000_000
    clock = shared.get("/egw/2/key/config?r=1").json()["configuration"]["calibrationTimestampMillis"]
    assert before <= clock <= time.time_ns() // 1_000_000


def test_the_summary_adds_up(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox()
    assert server.summary() == {
        "calls": 0,
        "events": 0,
        "valid": 0,
        "invalid": 0,
        "pending": 0,
        "distinct": 0,
        "by_event_name": {},
        "invalid_reasons": {},
    }
    server.track(
        [event(), event(event_name="LOGIN"), event(event_name="pay", a=1), event(a="x"), {"event_name": "login"}, 7]
    )
    server.track([event()])
    server.track([])
    server.post("/v3/key/track", b"no events")
    assert server.summary() == {
        "calls": 3,
        "events": 7,
        "valid": 4,
        "invalid": 3,
        "pending": 0,
        "distinct": 6,
        "by_event_name": {"login": 5, "pay": 1},
        "invalid_reasons": {"missing_property": 1, "not_an_object": 1, "wrong_type": 1},
    }


def test_repeats_are_stored_and_counted_once_in_distinct(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox()
    one, same = '{"event_name":"a","user_id":"b"}', '{ "user_id":"b", "event_name":"\\u0061" }'
    for _ in range(2):
        server.post("/v3/key/track", f'{{"events":[{one},{same}]}}'.encode())
    assert (server.summary()["events"], server.summary()["distinct"]) == (4, 1)


def test_events_come_back_as_they_were_sent_page_by_page(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox()
    texts = [f'{{ "n":{n}, "big":12345678901234567890.10, "x":"\\u00e9\\/" }}' for n in range(5)]
    server.post("/v3/key/track", f'{{"events":[{",".join(texts)}]}}'.encode())
    answer = server.get("/sandbox/events?limit=2&offset=1").text
    assert all((text in answer) is (n in {1, 2}) for n, text in enumerate(texts))
    entry = json.loads(answer)["events"][0]
    assert sorted(entry) == ["comment", "event", "received_at", "status"]
    assert entry["received_at"].endswith("Z")
    assert server.get("/sandbox/events?status=valid").json() == {"events": []}
    assert len(server.get("/sandbox/events?status=invalid&offset=4").json()["events"]) == 1


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=x", "offset=1.5", "limit=99999999999999999999", "status=lost", "offset="]
)
def test_a_page_that_is_none_is_refused_in_words(shared: SandboxServer, query: str) -> None:
    answer = shared.get(f"/sandbox/events?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]


def test_a_call_of_more_than_300_events_is_refused_whole(sandbox: SandboxServer) -> None:
    assert [sandbox.track([event()] * n).json()["status"] for n in (300, 301)] == [True, False]
    assert sandbox.summary()["events"] == 300


def test_a_client_that_goes_away_is_nothing_to_report(sandbox: SandboxServer) -> None:
    head = b"POST /v3/key/track HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n"
    for body in (b"", b'{"events":', b'{"events":[1]}'):
        with socket.create_connection(("127.0.0.1", sandbox.port)) as client:
            client.sendall(head + body)
    assert sandbox.stop() == 0
    assert sandbox.log.read_text() == ""


def test_what_is_not_documented_can_be_switched(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox(
        "--bad-body", "400", "--accept-over-limit", "--encodings", "data", "--max-body-bytes", "200000"
    )
    form = "application/x-www-form-urlencoded"
    assert server.track([event()]).status_code == 400
    assert server.post("/v3/key/track", b"data=%7B%22events%22%3A%5B%5D%7D", content_type=form).status_code == 200
    many = json.dumps({"events": [event()] * 301}).replace(" ", "")
    assert server.post("/v3/key/track", b"data=" + many.encode(), content_type=form).json()["status"] is True
    assert server.post("/v3/key/track", b"data=" + b" " * 200_000, content_type=form).status_code == 413
    assert (server.summary()["calls"], server.summary()["events"]) == (2, 301)


def test_calls_at_the_same_time_are_all_stored_each_in_its_order(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox()
    calls = [[event(user_id=f"{call}", n=n) for n in range(100)] for call in range(64)]
    with ThreadPoolExecutor(16) as pool:
        assert {answer.status_code for answer in pool.map(server.track, calls)} == {200}
    stored = server.events("valid")
    by_call = {call: [e["n"] for e in stored if e["user_id"] == f"{call}"] for call in range(64)}
    assert by_call == {call: list(range(100)) for call in range(64)}
    assert server.summary()["calls"] == 64


def test_two_servers_on_one_database_share_what_was_learned(start_sandbox: Callable[..., SandboxServer]) -> None:
    one = start_sandbox()
    other = start_sandbox(db=one.db)
    assert one.judge(event(p=1)) == [("valid", None)]
    assert [status for status, _ in other.judge(event(p="1"), event(p=2, q=1))] == ["invalid", "valid"]
    assert [status for status, _ in one.judge(event(q="1"), event(q=2))] == ["invalid", "valid"]


def test_a_full_disk_is_an_error_of_the_server_and_leaves_nothing_half_done(
    start_sandbox: Callable[..., SandboxServer],
) -> None:
    server = start_sandbox()
    assert server.judge(event(p="a")) == [("valid", None)]
    used = max(path.stat().st_size for path in server.db.parent.glob("sandbox.db*"))
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (used, resource.RLIM_INFINITY))
    answer = server.track([event(new=1, long="x" * 50_000)] * 100)
    assert answer.status_code == 500
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limits)
    assert server.summary()["events"] == 1
    assert server.judge(event(new="another type")) == [("valid", None)]
    assert "a request could not be answered: " in server.log.read_text()
    assert "xxx" not in server.log.read_text()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Host": "evil.example:{port}"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "["}, 421),
        ({"Origin": "http://evil.example"}, 421),
        ({"Origin": "null"}, 421),
    ],
    ids=repr,
)
def test_a_web_page_of_elsewhere_gets_no_answer(shared: SandboxServer, headers: dict[str, str], code: int) -> None:
    sent = {name: value.format(port=shared.port) for name, value in headers.items()}
    assert shared.get("/sandbox/summary", **sent).status_code == code


def test_no_app_key_and_no_event_is_ever_logged(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox("--app-key", "known-secret")
    for key in ("known-secret", "other-secret"):
        server.track([event(note="private")], app_key=key)
        server.post(f"/v3/{key}/track", b"private%")
        server.get(f"/v3/{key}/track")
    server.ask("select private secret from cooladata where pragma")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"POST /v3/known-secret/track HTTP/9.9\r\nprivate\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.")
    assert server.stop() == 0
    assert server.log.read_text() == ""
