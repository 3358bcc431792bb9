"""One call against the real sandbox and its faults, and against addresses where nothing answers."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.batches import Event, raw_body
from target_cooladata.client import STATUSES, Client, Kind, judge, parse_retry_after
from target_cooladata.configuration import parse
from target_cooladata.exceptions import SettingsError
from target_cooladata.target import TargetCoolaData
from tests.gate import Answer, Gate, Pass, Request
from tests.singer import APP_KEY

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer

BODY = raw_body([Event(b'{"event_name":"a","user_id":"u","event_timestamp_epoch":1350273990000}', "events", b"{}", 1)])


def client(url: str, **settings: t.Any) -> Client:
    target = TargetCoolaData(config={"endpoint_url": url, "app_key": APP_KEY, **settings})
    return Client(url, APP_KEY, parse(target.config))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_call_that_is_accepted_is_delivered(sandbox: SandboxServer) -> None:
    outcome = client(sandbox.url).post(BODY)
    assert (outcome.kind, outcome.status) == (Kind.DELIVERED, 200)
    assert sandbox.summary()["valid"] == 1


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        ({"kind": "status", "status": 503}, Kind.RETRY, 503),
        ({"kind": "status", "status": 429, "retry_after": "7"}, Kind.RETRY, 429),
        ({"kind": "status", "status": 408}, Kind.RETRY, 408),
        ({"kind": "status", "status": 425}, Kind.RETRY, 425),
        ({"kind": "status", "status": 400}, Kind.SPLIT, 400),
        ({"kind": "status", "status": 413}, Kind.SPLIT, 413),
        ({"kind": "status", "status": 422}, Kind.SPLIT, 422),
        ({"kind": "status", "status": 401}, Kind.FATAL, 401),
        ({"kind": "status", "status": 403}, Kind.FATAL, 403),
        ({"kind": "status", "status": 404}, Kind.FATAL, 404),
        ({"kind": "status", "status": 302}, Kind.FATAL, 302),
        ({"kind": "status_false"}, Kind.SPLIT, 200),
        ({"kind": "html"}, Kind.UNREADABLE, 200),
        ({"kind": "empty"}, Kind.UNREADABLE, 200),
        ({"kind": "truncated"}, Kind.UNREADABLE, 200),
        ({"kind": "reset_before_store"}, Kind.IN_DOUBT, None),
        ({"kind": "reset_after_store"}, Kind.IN_DOUBT, None),
        ({"kind": "slow", "delay_ms": 3_000}, Kind.IN_DOUBT, None),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else str(value),
)
def test_each_fault_has_its_outcome(
    sandbox: SandboxServer, fault: dict[str, t.Any], kind: Kind, status: int | None
) -> None:
    sandbox.set_faults({"times": None, **fault})
    outcome = client(sandbox.url, request_timeout_seconds=1).post(BODY)
    assert (outcome.kind, outcome.status) == (kind, status)
    assert APP_KEY not in outcome.detail


def test_a_call_is_the_documented_one_and_says_so(sandbox: SandboxServer) -> None:
    asked: list[Request] = []

    def between(request: Request, onward: Pass) -> Answer:
        asked.append(request)
        return onward(request)

    gate = Gate(sandbox.port, between)
    try:
        assert client(gate.url).post(BODY).kind is Kind.DELIVERED
    finally:
        gate.stop()
    (request,) = asked
    assert (request.method, request.target) == ("POST", f"/v3/{APP_KEY}/track")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.body == BODY


def test_the_time_that_the_server_asks_for_is_read(sandbox: SandboxServer) -> None:
    sandbox.set_faults({"kind": "status", "status": 429, "retry_after": "7"})
    assert client(sandbox.url).post(BODY).retry_after == 7


def test_an_address_where_nothing_answers_is_tried_again_and_not_in_doubt() -> None:
    outcome = client(f"http://127.0.0.1:{free_port()}").post(BODY)
    assert outcome.kind is Kind.RETRY
    assert "no connection" in outcome.detail


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_what_is_on_this_machine_is_not_asked_for_through_a_proxy(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert client(sandbox.url).post(BODY).kind is Kind.DELIVERED


def test_a_file_of_certificates_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(SettingsError, match=r"REQUESTS_CA_BUNDLE in the environment names /nowhere/ca\.pem"):
        client("https://127.0.0.1:1")


def test_a_file_that_holds_no_certificates_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with pytest.raises(SettingsError, match=r"ca\.pem, which cannot be read as a file of certificates"):
        client("https://127.0.0.1:1")


def test_a_proxy_that_cannot_be_reached_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://user:secret@127.0.0.1:{free_port()}")
    outcome = client("https://api.invalid").post(BODY)
    assert outcome.kind is Kind.RETRY
    assert outcome.detail == "no connection to api.invalid through the proxy that the environment names"


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".com"])
def test_a_host_that_no_name_can_be_is_fatal_and_not_in_doubt(host: str) -> None:
    outcome = client(f"https://{host}").post(BODY)
    assert outcome.kind is Kind.FATAL
    assert "endpoint_url" in outcome.detail


def test_a_server_that_speaks_no_tls_is_fatal(sandbox: SandboxServer) -> None:
    outcome = client(sandbox.url.replace("http://", "https://")).post(BODY)
    assert outcome.kind is Kind.FATAL
    assert "certificate" in outcome.detail


def test_no_log_of_any_level_shows_the_app_key(sandbox: SandboxServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client(sandbox.url).post(BODY)
    assert any("/v3/***/track" in message for message in caplog.messages)
    assert APP_KEY not in caplog.text


@pytest.mark.parametrize("status", [103, 202])
def test_another_2xx_and_what_comes_before_an_answer_is_no_success_and_no_refusal(status: int) -> None:
    assert judge(status, b'{"status":true}', None).kind is Kind.UNREADABLE


def test_success_needs_a_json_object_whose_status_is_not_false() -> None:
    assert judge(200, b"{}", None).kind is Kind.DELIVERED
    assert judge(200, b'{"status":true,"results":{}}', None).kind is Kind.DELIVERED
    assert judge(200, b"[]", None).kind is Kind.UNREADABLE
    assert judge(200, b"\xff", None).kind is Kind.UNREADABLE


def test_no_status_of_the_table_is_taken_for_delivered() -> None:
    assert {kind for kind, _ in STATUSES.values()} <= {Kind.RETRY, Kind.SPLIT, Kind.FATAL}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2", 2),
        (" 0 ", 0),
        ("Mon, 15 Oct 2012 04:06:40 GMT", 10),
        ("Mon, 15 Oct 2012 04:06:20 GMT", 0),
        ("99999999999999999999", 999_999_999),
        ("-1", None),
        ("soon", None),
        ("Mon, 15 Oct 99999999999 04:06:40 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(value: str | None, seconds: float | None) -> None:
    now = dt.datetime(2012, 10, 15, 4, 6, 30, tzinfo=dt.UTC)
    assert parse_retry_after(value, now) == seconds


_PARTS = [
    "Mon,",
    "15",
    "Oct",
    "2012",
    "04:06:40",
    "GMT",
    "+0000",
    "-9999",
    "99999999999",
    "-1",
    "0",
    ":",
    "(",
    '"',
    "²",
]


@given(st.text() | st.lists(st.sampled_from(_PARTS)).map(" ".join))
def test_whatever_stands_in_retry_after_is_a_time_or_nothing(value: str) -> None:
    seconds = parse_retry_after(value)
    assert seconds is None or seconds >= 0
