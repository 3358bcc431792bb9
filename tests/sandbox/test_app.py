"""The command line: starting, stopping, dying, and databases that cannot be used."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from click.testing import CliRunner, Result

from target_cooladata.sandbox.app import main
from tests.sandbox.examples import event
from tests.sandbox_server import COMMAND

if t.TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.sandbox_server import SandboxServer

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([*sys.argv[1:], "--stop-with-stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), flush=True)
time.sleep(600)
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def run_here(*arguments: str | Path) -> Result:
    """Run the command in this process, which is quicker, for what never serves."""
    return CliRunner().invoke(main, [*map(str, arguments)])


def wait_for_end(pid: int, seconds: float) -> bool:
    """Say whether a process that is not our child has ended within so many seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def test_sigterm_ends_it_in_order_as_ctrl_c_does(sandbox: SandboxServer) -> None:
    sandbox.track([event()])
    sandbox.process.terminate()
    assert sandbox.process.wait(15) == 0
    assert sandbox.log.read_text() == ""
    assert not sandbox.db.with_name("sandbox.db-wal").exists()


def test_a_signal_lets_the_calls_in_hand_be_answered(sandbox: SandboxServer) -> None:
    sandbox.set_faults({"kind": "slow", "delay_ms": 600_000})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(sandbox.track, [event()])
        while not sandbox.summary()["events"]:
            assert not call.done()
        sandbox.process.send_signal(signal.SIGTERM)
        assert call.result(15).json() == {"status": True, "results": {}}
    assert sandbox.process.wait(15) == 0


def test_a_call_that_never_ends_does_not_keep_it_from_ending(sandbox: SandboxServer) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port)) as client:
        client.sendall(b"POST /v3/key/track HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        assert sandbox.summary()["calls"] == 0
        assert sandbox.stop() == 0


def test_it_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    serve = [COMMAND, "serve", "--db", str(tmp_path / "sandbox.db"), "--port", "0"]
    with subprocess.Popen([sys.executable, "-c", PARENT, *serve], stdout=subprocess.PIPE, text=True) as parent:
        pid, _, url = t.cast("t.IO[str]", parent.stdout).readline().partition(" listening on ")
        assert requests.get(f"{url.strip()}/sandbox/summary", timeout=10).status_code == 200
        parent.kill()
        assert parent.wait(10) == -signal.SIGKILL
    has_ended = wait_for_end(int(pid), 15)
    if not has_ended:
        os.kill(int(pid), signal.SIGKILL)
    assert has_ended


def test_as_a_child_it_outlives_ctrl_c_and_ends_with_its_input(tmp_path: Path) -> None:
    serve = [COMMAND, "serve", "--db", str(tmp_path / "sandbox.db"), "--port", "0", "--stop-with-stdin"]
    with subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        url = t.cast("t.IO[str]", child.stdout).readline().removeprefix("listening on ").strip()
        child.send_signal(signal.SIGINT)
        assert requests.get(f"{url}/sandbox/summary", timeout=10).status_code == 200
        t.cast("t.IO[str]", child.stdin).close()
        assert child.wait(15) == 0


def test_every_answered_event_survives_kill_9(start_sandbox: Callable[..., SandboxServer]) -> None:
    server = start_sandbox()
    answered: list[int] = []
    enough = threading.Event()

    def send(first: int) -> None:
        for call in range(first, 10_000, 8):
            try:
                server.track([event(n=call)] * 10)
            except requests.RequestException:
                return
            answered.append(call)
            if len(answered) >= 40:
                enough.set()

    with ThreadPoolExecutor(8) as pool:
        senders = [pool.submit(send, first) for first in range(8)]
        assert enough.wait(30)
        assert server.process.poll() is None
        server.process.kill()
        for sender in senders:
            sender.result(30)
    again = start_sandbox(db=server.db)
    stored = [e["n"] for e in again.events("valid")]
    assert {call: stored.count(call) for call in answered} == dict.fromkeys(answered, 10)
    assert set(map(stored.count, stored)) == {10}


def test_what_was_learned_survives_a_restart(start_sandbox: Callable[..., SandboxServer]) -> None:
    first = start_sandbox()
    first.judge(event(p=1))
    first.kill()
    again = start_sandbox(db=first.db)
    assert [status for status, _ in again.judge(event(p="x"), event(P=2))] == ["invalid", "valid"]


def test_it_listens_on_one_loopback_address_only(sandbox: SandboxServer) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", sandbox.port), timeout=5)


def test_the_database_is_readable_by_its_owner_alone(
    start_sandbox: Callable[..., SandboxServer], tmp_path: Path
) -> None:
    db = tmp_path / "new" / "folder" / "sandbox.db"
    server = start_sandbox(db=db)
    server.track([event()])
    files = sorted(path for path in db.parent.iterdir() if path.name.startswith("sandbox.db") and path.suffix != ".log")
    assert [path.name for path in files] == ["sandbox.db", "sandbox.db-shm", "sandbox.db-wal"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_the_summary_is_the_same_with_a_server_and_without_one(sandbox: SandboxServer) -> None:
    sandbox.track([event(), event(event_name="pay"), {}])
    over_http = sandbox.summary()
    running = run("summary", "--db", sandbox.db)
    sandbox.stop()
    ended = run("summary", "--db", sandbox.db)
    assert (running.returncode, ended.returncode) == (0, 0)
    assert json.loads(running.stdout) == json.loads(ended.stdout) == over_http


def test_a_summary_of_no_database_says_so_and_makes_none(tmp_path: Path) -> None:
    ended = run_here("summary", "--db", tmp_path / "none.db")
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "there is no database" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def other_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("create table calls (id integer)")
    connection.close()


def newer_sandbox(path: Path) -> None:
    other_sqlite(path)
    with sqlite3.connect(path) as connection:
        connection.execute(f"pragma application_id = {0x434F4F4C}")
        connection.execute("pragma user_version = 2")
    connection.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("event_name,user_id\n" * 100), "file is not a database"),
        (other_sqlite, "is not a sandbox database"),
        (newer_sandbox, "is of another version of the sandbox"),
    ],
    ids=["a text file", "another SQLite file", "a sandbox of another version"],
)
def test_a_file_that_is_something_else_is_left_as_it_was(
    tmp_path: Path, make: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "file.db"
    make(path)
    path.chmod(0o644)
    before = path.read_bytes()
    ended = run("serve", "--port", "0", "--db", path)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert words in ended.stderr
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (before, 0o644)


def test_a_summary_of_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    other_sqlite(tmp_path / "file.db")
    ended = run_here("summary", "--db", tmp_path / "file.db")
    assert (ended.exit_code, len(ended.stderr.splitlines())) == (1, 1)
    assert "is not a sandbox database" in ended.stderr


def test_a_path_that_cannot_be_opened_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = run("serve", "--port", "0", "--db", tmp_path / "file" / "sandbox.db")
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "cannot be opened: " in ended.stderr


def test_a_port_that_is_taken_is_refused_in_one_line(sandbox: SandboxServer, tmp_path: Path) -> None:
    ended = run("serve", "--port", str(sandbox.port), "--db", tmp_path / "other.db")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"Error: port {sandbox.port} cannot be listened on: Address already in use\n"


def test_every_option_is_explained() -> None:
    lines = run_here("serve", "--help").stdout.splitlines()
    options = [line.split() for line in lines if line.startswith("  --")]
    assert len(options) >= 17
    assert [words for words in options if len(words) < 2] == []
