"""The target against everything that can go wrong on the other side, and on its own disk."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import typing as t

import pytest
import trustme

from tests.commands import BIN, run, write_config
from tests.singer import APP_KEY, event, record, schema, state

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import RunTarget

EVERY_KIND: list[dict[str, t.Any]] = [
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429, "retry_after": "0"},
    {"kind": "status", "status": 400},
    {"kind": "slow", "delay_ms": 200},
    {"kind": "reset_before_store"},
    {"kind": "reset_after_store"},
    {"kind": "status_false"},
    {"kind": "html"},
    {"kind": "empty"},
    {"kind": "truncated"},
]


def test_a_hundred_thousand_events_survive_every_kind_of_fault(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    # The first answer of a run has to be understood; every other call has a chance of each kind of fault.
    sandbox.set_faults(
        *(
            {"after": 1, "times": None, "chance": 0.013, "seed": seed, **fault}
            for seed, fault in enumerate(EVERY_KIND, start=20121015)
        )
    )
    lines = [event(number) for number in range(100_000)]
    done = run_target(state(n=0), schema(), *lines, state(n=100_000), batch_size_rows=100)
    assert done.code == 0, done.stderr
    report = done.report
    applied = sum(fault["applied"] for fault in sandbox.faults())
    assert applied >= 0.1 * report["calls"]
    assert all(fault["applied"] for fault in sandbox.faults())
    summary = sandbox.summary()
    assert summary["distinct"] == 100_000
    assert summary["events"] - summary["distinct"] <= report["events_in_doubt"]
    assert report["events_delivered"] == 100_000
    assert report["equation_closes"]
    assert not (tmp_path / "rejects").exists()
    assert done.states[-1] == {"n": 100_000}


def test_a_server_that_bears_four_calls_refuses_few_of_them(run_target: RunTarget, sandbox: SandboxServer) -> None:
    sandbox.set_faults(
        {"kind": "status", "status": 429, "times": None, "when": {"in_flight_over": 4}},
        {"kind": "slow", "delay_ms": 20, "times": None},
    )
    done = run_target(schema(), *map(event, range(600)), batch_size_rows=1, max_concurrency=16)
    assert done.code == 0, done.stderr
    assert sandbox.summary()["events"] == 600
    assert 0 < done.report["retries"] < 50 + 0.05 * 550


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_endpoint_that_cannot_be_reached_is_one_line(run_target: RunTarget, closed_port: int) -> None:
    done = run_target(
        schema(), event(1), state(a=1), endpoint_url=f"http://127.0.0.1:{closed_port}", max_retry_seconds=1
    )
    assert done.code == 1
    (line,) = done.complaints
    assert f"no connection to 127.0.0.1:{closed_port}" in line
    assert done.states == []


@pytest.fixture
def untrusted() -> t.Iterator[str]:
    """A server whose certificate nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

    server = threading.Thread(target=serve)
    server.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    server.join()


def test_a_certificate_that_nobody_vouches_for_is_one_line(run_target: RunTarget, untrusted: str) -> None:
    done = run_target(schema(), event(1), state(a=1), endpoint_url=untrusted)
    assert done.code == 1
    (line,) = done.complaints
    assert "certificate" in line
    assert "REQUESTS_CA_BUNDLE" in line
    assert done.states == []
    assert APP_KEY not in done.stderr


def test_state_stays_before_a_reject_that_could_not_be_kept(run_target: RunTarget, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines = [state(n=0), schema(), event(1), state(n=1), record(n=1), event(2), state(n=2)]
    done = run_target(*lines, rejects_path=str(tmp_path / "file" / "rejects"))
    assert done.code == 1
    (line,) = done.complaints
    assert "rejects_path" in line
    assert {"n": 2} not in done.states
    assert done.report["equation_closes"]


def test_a_rejects_folder_that_is_read_only_is_one_line_and_state_stays_before(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    (tmp_path / "rejects").mkdir(mode=0o555)
    config = write_config(
        tmp_path, endpoint_url=sandbox.url, app_key=APP_KEY, rejects_path=str(tmp_path / "rejects"), journal_path=""
    )
    # Root may write anywhere, unless that is taken from it.
    prefix = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    lines = [state(n=0), schema(), event(1), record(n=1), state(n=1)]
    done = run(*prefix, BIN / "target-cooladata", "--config", config, stdin="".join(lines))
    assert done.code == 1
    (line,) = done.complaints
    assert "Permission denied" in line
    assert "rejects_path" in line
    assert {"n": 1} not in done.states
    assert done.report["equation_closes"]


def test_a_disk_that_is_full_for_rejects_is_one_line_and_state_stays_before(
    sandbox: SandboxServer, tmp_path: Path
) -> None:
    """The kernel refuses to let any file of the process grow."""
    config = write_config(
        tmp_path, endpoint_url=sandbox.url, app_key=APP_KEY, rejects_path=str(tmp_path / "rejects"), journal_path=""
    )
    (tmp_path / "in").write_text("".join([state(n=0), schema(), event(1), record(n="x" * 9000), state(n=1)]))
    limited = f"ulimit -f 1; trap '' XFSZ; exec target-cooladata --config {config} < {tmp_path / 'in'} 2> >(cat >&2)"
    done = run("bash", "-c", limited, env={"PATH": f"{BIN}:{os.environ['PATH']}"})
    assert done.code == 1
    (line,) = done.complaints
    assert "File too large" in line
    assert "rejects_path" in line
    assert {"n": 1} not in done.states


def test_a_journal_that_cannot_be_written_is_one_line_before_anything_is_sent(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = run_target(state(n=0), schema(), event(1), journal_path=str(tmp_path / "file" / "journal"))
    assert done.code == 1
    (line,) = done.complaints
    assert "journal_path" in line
    assert sandbox.summary()["calls"] == 0


def test_a_report_that_cannot_be_written_fails_the_run_with_its_state_out(
    run_target: RunTarget, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = run_target(schema(), event(1), state(n=1), report_path=str(tmp_path / "file" / "report.json"))
    assert done.code == 1
    assert "report_path" in done.complaints[0]
    assert done.states[-1] == {"n": 1}


def test_a_handshake_that_is_cut_off_is_tried_again(run_target: RunTarget, rude: str) -> None:
    done = run_target(schema(), event(1), state(a=1), endpoint_url=rude, max_retry_seconds=2)
    assert done.code == 1
    (line,) = done.complaints
    assert "no secure connection" in line
    assert "given up after" in line
    assert done.report["retries"] > 0
    assert done.report["events_in_doubt"] == 0


@pytest.fixture
def rude() -> t.Iterator[str]:
    """A server that takes the hello of TLS and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1 << 16)

    server = threading.Thread(target=serve)
    server.start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    server.join()
