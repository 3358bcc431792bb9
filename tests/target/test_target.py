"""The command `target-cooladata`, run as a process, sending to a real sandbox over HTTP."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
import typing as t

import pytest

from target_cooladata.report import MELTANO_TEST_STREAM
from tests.commands import run, write_config
from tests.singer import APP_KEY, event, record, schema, state

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import RunTarget


def rejects(tmp_path: Path) -> list[t.Any]:
    return [
        json.loads(line)
        for path in sorted((tmp_path / "rejects").rglob("*.json"))
        for line in path.read_text().splitlines()
    ]


def test_every_event_arrives_and_the_last_state_comes_out(run_target: RunTarget, sandbox: SandboxServer) -> None:
    done = run_target(state(), schema(), *map(event, range(1000)), state(a=1), state(a=2))
    assert done.code == 0
    assert done.states[-1] == {"a": 2}
    summary = sandbox.summary()
    assert (summary["valid"], summary["distinct"], summary["calls"]) == (1000, 1000, 4)
    assert [stored["user_id"] for stored in sandbox.events()][:300] == [f"u{number}" for number in range(300)]
    report = done.report
    assert report["records_read"] == report["events_delivered"] == 1000
    assert report["equation_closes"]


def test_a_good_run_speaks_neither_of_errors_nor_of_exceptions(run_target: RunTarget) -> None:
    done = run_target(schema(), event(1), state(a=1))
    assert "error" not in done.stderr.lower()
    assert "exception" not in done.stderr.lower()


def test_events_outside_the_default_window_are_sent_counted_and_told_of_once(
    run_target: RunTarget, sandbox: SandboxServer
) -> None:
    now = time.time_ns() // 1_000_000
    inside = [event(number, event_time_ts=now - number * 86_400_000, a=number % 3 or None) for number in range(30)]
    ahead = [event(number, event_time_ts=now + 2 * 3_600_000, a=number % 2 or None) for number in range(5)]
    old = [event(number, event_time_ts=now - 31 * 86_400_000, a=number % 2 or None) for number in range(5)]
    done = run_target(schema(), *inside, *ahead, *old)
    assert done.code == 0
    assert sandbox.summary()["events"] == 40
    assert done.report["events_outside_default_window"] == 10
    assert done.stderr.count("10 events are older than 30 days or more than 1 hour ahead") == 1
    assert done.stderr.count("project's window is widened") == 1


def test_a_state_keeps_its_bytes(run_target: RunTarget) -> None:
    done = run_target('{"type":"STATE","value":{"f": 1.10, "big": 12345678901234567890}}\n')
    assert done.stdout == '{"f": 1.10, "big": 12345678901234567890}\n'


def test_an_orders_stream_loads_through_its_mapping(run_target: RunTarget, sandbox: SandboxServer) -> None:
    mapping = [
        {
            "stream": "orders",
            "event_name": "order",
            "user_id_property": "customer_id",
            "event_time_property": "created_at",
        }
    ]
    created = "2012-10-15T04:06:30+00:00"
    done = run_target(
        schema("orders", ["id"]),
        record("orders", id=1, customer_id=42, created_at=created, total=9.5, paid=True, note=None),
        streams=mapping,
    )
    assert done.code == 0
    assert sandbox.events("valid") == [
        {
            "event_name": "order", "user_id": "42", "event_timestamp_epoch": 1350273990000, "id": 1, "total": 9.5,
            "paid": "true",
        }
    ]  # fmt: skip


def test_streams_may_be_mixed_and_a_schema_may_change(run_target: RunTarget, sandbox: SandboxServer) -> None:
    lines = [schema("a"), schema("b"), *(event(n).replace('"events"', f'"{"ab"[n % 2]}"') for n in range(10))]
    done = run_target(*lines, schema("a", x={"type": "string"}), event(99).replace('"events"', '"a"'))
    assert done.code == 0
    assert sandbox.summary()["valid"] == 11
    assert done.report["streams"]["a"]["events_delivered"] == 6


def test_a_refused_record_is_kept_and_the_others_go_on(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    done = run_target(schema(), event(1), record(event_name="x", n=1), event(2), state(a=1))
    assert done.code == 0
    assert sandbox.summary()["valid"] == 2
    (reject,) = rejects(tmp_path)
    assert (reject["reason"], reject["stream"], reject["status"]) == ("missing_user_id", "events", None)
    assert reject["record"] == {"event_name": "x", "n": 1}
    assert done.states == [{"a": 1}]
    assert done.report["events_rejected"] == 1
    assert done.report["equation_closes"]


def test_on_reject_fail_stops_there_with_the_record_kept(run_target: RunTarget, tmp_path: Path) -> None:
    done = run_target(schema(), record(n=1), event(2), state(a=1), on_reject="fail")
    assert done.code == 1
    assert "`on_reject` is `fail`" in done.complaints[0]
    assert len(rejects(tmp_path)) == 1
    assert done.states == []
    assert done.report["equation_closes"]


def test_on_reject_fail_accounts_for_what_the_api_refused_too(run_target: RunTarget, sandbox: SandboxServer) -> None:
    poison = [f"u{number}" for number in range(0, 300, 30)]
    sandbox.set_faults({"kind": "status", "status": 400, "times": None, "when": {"property": "user_id", "in": poison}})
    done = run_target(schema(), *map(event, range(300)), state(a=1), on_reject="fail")
    assert done.code == 1
    assert done.states == []
    assert (done.report["events_delivered"], done.report["events_rejected"]) == (290, 1)
    assert done.report["equation_closes"]


def test_a_stream_of_which_nothing_was_delivered_fails_the_run(run_target: RunTarget) -> None:
    done = run_target(schema("orders"), record("orders", n=1), state(a=1))
    assert done.code == 1
    assert "stream 'orders'" in done.complaints[0]
    assert "`streams` can say" in done.complaints[0]
    assert done.states == [{"a": 1}]


def test_a_stream_that_the_api_refuses_whole_is_not_blamed_on_the_mapping(
    run_target: RunTarget, sandbox: SandboxServer
) -> None:
    sandbox.set_faults({"kind": "status", "status": 400, "times": None})
    done = run_target(schema(), event(1), event(2), state(a=1))
    assert done.code == 1
    (line,) = done.complaints
    assert "none of its 2 records became an event (refused 2); it is the API that refuses them" in line
    assert "`streams`" not in line


def test_a_stream_whose_records_are_too_large_is_not_blamed_on_the_mapping(run_target: RunTarget) -> None:
    done = run_target(schema(), event(1, text="x" * 100_000))
    assert "(event_too_large 1); the rejects file says" in done.complaints[0]


def test_more_rejects_than_allowed_fail_the_run(run_target: RunTarget) -> None:
    bad = [record(n=number) for number in range(100)]
    good = [event(number) for number in range(100)]
    done = run_target(schema(), *good, *bad)
    assert done.code == 1
    assert "100 of 200 records were refused" in done.complaints[0]
    assert run_target(schema(), *good, *bad, max_reject_percent=50).code == 0
    assert run_target(schema(), *good, *bad[1:]).code == 0


def test_failing_calls_are_tried_again_and_state_is_never_ahead(run_target: RunTarget, sandbox: SandboxServer) -> None:
    sandbox.set_faults(
        {"kind": "status", "status": 503, "times": 3, "retry_after": "0"}, {"kind": "reset_after_store", "times": 1}
    )
    lines = [line for n in range(1, 1501) for line in ([event(n), state(n=n)] if n % 100 == 0 else [event(n)])]
    done = run_target(schema(), *lines)
    assert done.code == 0
    assert done.states[-1] == {"n": 1500}
    summary = sandbox.summary()
    assert summary["distinct"] == 1500
    assert 0 < summary["events"] - summary["distinct"] <= done.report["events_in_doubt"] == 300
    assert done.report["retries"] == 4


def test_state_before_a_failure_comes_out_and_none_after_it(run_target: RunTarget, sandbox: SandboxServer) -> None:
    sandbox.set_faults({"kind": "status", "status": 403, "every": 3, "times": None})
    lines = [line for n in range(1, 1501) for line in ([event(n), state(n=n)] if n % 300 == 0 else [event(n)])]
    done = run_target(schema(), *lines, max_concurrency=1)
    assert done.code == 1
    assert sandbox.summary()["events"] == 600
    assert done.states[-1] == {"n": 600}
    assert done.report["events_undelivered"] > 0
    assert done.report["equation_closes"]


def test_a_wrong_key_ends_the_run_at_once_and_is_shown_nowhere(
    tmp_path: Path, start_sandbox: t.Callable[..., SandboxServer]
) -> None:
    sandbox = start_sandbox("--app-key", "another")
    config = write_config(
        tmp_path,
        endpoint_url=sandbox.url,
        app_key=APP_KEY,
        rejects_path=str(tmp_path),
        report_path=str(tmp_path / "r.json"),
    )
    before = time.monotonic()
    done = run(
        "target-cooladata", "--config", config, stdin=schema() + event(1) + state(a=1),
        env={"TARGET_COOLADATA_LOGLEVEL": "DEBUG", "LOGLEVEL": "DEBUG"},
    )  # fmt: skip
    assert time.monotonic() - before < 5
    assert done.code == 1
    assert len(done.complaints) == 1
    assert "check `app_key`" in done.complaints[0]
    assert done.states == []
    assert "DEBUG" in done.stderr
    assert APP_KEY not in done.stderr + done.stdout + (tmp_path / "r.json").read_text()


def test_retries_end_after_their_time_with_one_line(run_target: RunTarget, sandbox: SandboxServer) -> None:
    sandbox.set_faults({"kind": "status", "status": 503, "times": None})
    done = run_target(schema(), event(1), state(a=1), max_retry_seconds=1)
    assert done.code == 1
    assert len(done.complaints) == 1
    assert "HTTP 503" in done.complaints[0]
    assert "`max_retry_seconds` is 1" in done.complaints[0]
    assert done.states == []


def test_an_unreadable_first_answer_ends_the_run(run_target: RunTarget, sandbox: SandboxServer) -> None:
    sandbox.set_faults({"kind": "html", "times": None})
    done = run_target(schema(), event(1), state(a=1))
    assert done.code == 1
    assert "unreadable_200" in done.complaints[0]
    assert done.states == []


def test_events_that_the_api_refuses_are_found_and_kept(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    poison = [f"u{number}" for number in (3, 77, 78, 150, 151, 222, 299)]
    sandbox.set_faults({"kind": "status", "status": 400, "times": None, "when": {"property": "user_id", "in": poison}})
    done = run_target(schema(), *map(event, range(300)), state(a=1))
    assert done.code == 0
    assert sandbox.summary()["valid"] == 293
    kept = rejects(tmp_path)
    assert sorted(reject["record"]["user_id"] for reject in kept) == sorted(poison)
    assert {(reject["reason"], reject["status"]) for reject in kept} == {("refused", 400)}
    assert done.report["calls"] <= 7 * 18
    assert done.states == [{"a": 1}]


def test_when_one_event_after_the_other_is_refused_state_stays_before_the_first_of_them(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    sandbox.set_faults({"kind": "status", "status": 400, "after": 1, "times": None})
    lines = [line for number in range(1, 101) for line in (event(number), state(n=number))]
    done = run_target(schema(), *lines, batch_size_rows=5, max_concurrency=1)
    assert done.code == 1
    assert "20 events in a row were refused" in done.complaints[0]
    assert done.states[-1] == {"n": 5}
    assert done.report["events_rejected"] == 0
    assert done.report["equation_closes"]
    assert not (tmp_path / "rejects").exists()
    sandbox.clear_faults()
    assert run_target(state(n=5), schema(), *lines[10:]).report["events_delivered"] == 95


@pytest.mark.parametrize("encoding", ["raw", "data"])
@pytest.mark.parametrize("version", ["v3", "v2", "v1"])
def test_every_character_arrives_in_every_encoding(
    run_target: RunTarget, sandbox: SandboxServer, encoding: str, version: str
) -> None:
    text = 'plus + percent %41 amp & equal = quote " backslash \\ slash / é ü 東京 🎈 tab \t end'
    done = run_target(schema(), event(1, note=text), payload_encoding=encoding, api_version=version)
    assert done.code == 0
    assert sandbox.events("valid")[0]["note"] == text


def test_stream_maps_and_flattening_are_honoured(run_target: RunTarget, sandbox: SandboxServer) -> None:
    done = run_target(
        schema(event_name={"type": "string"}, user_id={"type": "string"}, event_time_ts={"type": "integer"},
               hidden={"type": "string"}, a={"type": "object", "properties": {"b": {"type": "number"}}}),
        event(1, hidden="x", a={"b": 1.25}),
        event(2, hidden="x", a={"b": 2}),
        event(3, event_name="drop me"),
        stream_maps={"events": {"hidden": None, "user_id": "user_id.upper()", "__filter__": "event_name == 'login'"}},
        flattening_enabled=True,
        flattening_max_depth=2,
    )  # fmt: skip
    assert done.code == 0
    assert [{"u": e["user_id"], "b": e["a__b"], "s": e.get("hidden")} for e in sandbox.events()] == [
        {"u": "U1", "b": 1.25, "s": None},
        {"u": "U2", "b": 2, "s": None},
    ]
    assert done.report["records_filtered"] == 1
    assert done.report["equation_closes"]


def test_what_stream_maps_leave_out_is_not_kept_of_a_refused_record(run_target: RunTarget, tmp_path: Path) -> None:
    text = {"type": "string"}
    done = run_target(
        schema(user_id=text, hidden=text, ip=text, event_time_ts={}),
        event(1, hidden="x", ip="192.0.2.1", event_time_ts="soon"),
        stream_maps={"events": {"hidden": None, "session_ip": "ip"}},
    )
    assert done.report["reject_reasons"] == {"bad_time": 1}
    (reject,) = rejects(tmp_path)
    assert reject["record"]["session_ip"] == "192.0.2.1"
    assert "hidden" not in reject["record"]


@pytest.mark.parametrize("more", [{}, {"a": {"n": "n + 1"}}])
def test_streams_that_the_maps_do_not_name_can_be_left_out(
    run_target: RunTarget, sandbox: SandboxServer, more: dict[str, t.Any]
) -> None:
    done = run_target(schema(), event(1), stream_maps={"__else__": None, **more})
    assert done.code == 0
    assert sandbox.summary()["events"] == 0
    assert done.report["records_filtered"] == 1


def test_renamed_properties_are_named_once(run_target: RunTarget, sandbox: SandboxServer) -> None:
    done = run_target(schema(), event(1, **{"עיר": "Haifa", "שם": "Dan", "a.b": 1}), event(2, שם="Noa"))
    first, second = sandbox.events("valid")
    renamed = done.report["properties_renamed"]
    assert first[renamed["שם"]] == "Dan"
    assert second[renamed["שם"]] == "Noa"
    assert first[renamed["עיר"]] == "Haifa"
    assert renamed["a.b"] == "a_b"
    assert done.stderr.count("CoolaData refuses, and are sent under others") == 1


def test_a_stream_map_that_fails_on_a_record_refuses_that_record(run_target: RunTarget, sandbox: SandboxServer) -> None:
    text = {"type": "string"}
    lines = [schema(event_name=text, user_id=text, n=text, event_time_ts={"type": "integer"})]
    lines += [event(number, n="x" if number == 3 else "7") for number in range(5)]
    done = run_target(*lines, stream_maps={"events": {"n": "int(n)"}})
    assert done.code == 0
    assert sandbox.summary()["valid"] == 4
    assert done.report["reject_reasons"] == {"map_failed": 1}


def test_a_stream_map_that_gives_what_json_has_not_refuses_that_record(run_target: RunTarget) -> None:
    maps = {"events": {"n": "'\\ud800' if user_id == 'u1' else 'x'"}}
    done = run_target(schema(user_id={"type": "string"}), event(1), event(2), stream_maps=maps)
    assert done.code == 0
    assert done.report["reject_reasons"] == {"map_failed": 1}
    assert done.report["events_delivered"] == 1


def test_what_a_filter_gives_is_logged_at_no_level(run_target: RunTarget) -> None:
    done = run_target(
        schema(note={"type": "string"}), event(1, note="a secret"), env={"TARGET_COOLADATA_LOGLEVEL": "DEBUG"},
        stream_maps={"events": {"__filter__": "note"}},
    )  # fmt: skip
    assert done.code == 0
    assert "DEBUG" in done.stderr
    assert "a secret" not in done.stderr


def test_a_stream_map_that_cannot_be_is_one_line(run_target: RunTarget) -> None:
    done = run_target(schema(n={"type": "string"}), event(1), stream_maps={"events": {"n": "int(("}})
    assert done.code == 1
    assert done.complaints[0].startswith("stream_maps: ")
    assert "Traceback" not in done.stderr


def test_an_answer_that_drips_or_floods_holds_up_nobody(run_target: RunTarget, drip: str) -> None:
    before = time.monotonic()
    done = run_target(
        schema(), event(1), state(a=1), endpoint_url=drip, request_timeout_seconds=1, max_retry_seconds=1
    )  # fmt: skip
    assert time.monotonic() - before < 15
    assert done.code == 1
    assert "did not end its answer in time" in done.complaints[0]
    assert done.states == []


@pytest.fixture
def drip() -> t.Iterator[str]:
    """A server whose answers never end: a byte now and then."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not ended.wait(0.1):
                connection.sendall(b" ")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=(connection,)).start()

    server = threading.Thread(target=serve)
    server.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    ended.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    server.join()


def test_records_before_their_schema_and_lines_that_are_no_messages_end_the_run(run_target: RunTarget) -> None:
    for lines, words in (
        ([record("a", n=1)], "came before its SCHEMA"),
        ([record("a", n=math.nan)], "came before its SCHEMA"),
        ([schema(), event(1), "secret words\n"], "line 3 of the input"),
        ([schema("a", ["id"]), record("a", n=1)], "lacks its key id"),
        ([schema("a").replace('"properties"', '"other"')], "has no `properties`"),
    ):
        done = run_target(*lines)
        assert done.code == 1
        assert words in done.complaints[0]
        assert "secret words" not in done.stderr
        assert "Traceback" not in done.stderr
        assert done.report["equation_closes"]


def test_meltanos_test_stream_is_taken_and_not_sent(run_target: RunTarget, sandbox: SandboxServer) -> None:
    done = run_target(schema(MELTANO_TEST_STREAM), record(MELTANO_TEST_STREAM, id=1), state(a=1))
    assert done.code == 0
    assert sandbox.summary()["calls"] == 0
    assert done.report["records_filtered"] == 1


def test_the_report_is_written_where_asked(run_target: RunTarget, tmp_path: Path) -> None:
    done = run_target(schema(), event(1), report_path=str(tmp_path / "deep" / "report.json"))
    assert json.loads((tmp_path / "deep" / "report.json").read_text()) == done.report


def test_the_embedded_sandbox_takes_the_events_and_says_that_it_is_one(tmp_path: Path) -> None:
    db = tmp_path / "new" / "sandbox.db"
    config = write_config(tmp_path, endpoint_url=f"sandbox:{db}", rejects_path=str(tmp_path / "rejects"))
    done = run("target-cooladata", "--config", config, stdin=schema() + event(1) + state(a=1))
    assert done.code == 0
    lines = done.stderr.splitlines()
    for line in (lines[0], lines[-1]):
        assert f"This run loads into the local sandbox {db}, not into CoolaData" in line
        assert "endpoint_url" in line
    summary = json.loads(run("cooladata-sandbox", "summary", "--db", db).stdout)
    assert summary["valid"] == 1


def test_a_sandbox_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sandbox.db").mkdir()
    config = write_config(tmp_path, endpoint_url=f"sandbox:{tmp_path / 'sandbox.db'}")
    done = run("target-cooladata", "--config", config, stdin=schema() + event(1))
    assert done.code == 1
    assert "the sandbox did not start" in done.complaints[0]
    assert "Traceback" not in done.stderr


def test_a_dry_run_does_everything_but_send(run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path) -> None:
    lines = [state(n=0), schema(), *map(event, range(1000)), record(n=1), state(n=1)]
    done = run_target(*lines, dry_run=True, endpoint_url="https://127.0.0.1:1", app_key=None)
    assert done.code == 0
    assert done.states == []
    assert sandbox.summary()["calls"] == 0
    report = done.report
    assert report["dry_run"] == {"calls": 4, "minutes": 0.0}
    assert (report["events_undelivered"], report["events_rejected"]) == (1000, 1)
    assert report["equation_closes"]
    assert len(rejects(tmp_path)) == 1
    assert "Dry run: nothing was sent" in done.stderr
