"""STATE on the target's standard output, read as it comes out."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import itertools
import json
import os
import subprocess
import threading
import time
import typing as t

import pytest

from target_cooladata.exceptions import TargetError
from target_cooladata.ledger import Checkpoint
from target_cooladata.rejects import RejectsWriter
from target_cooladata.states import StateWriter
from tests.commands import BIN, write_config
from tests.singer import APP_KEY, event, schema, state

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import Process, StartTarget


def test_no_state_is_ahead_of_what_the_api_has_stored(process: Process, sandbox: SandboxServer) -> None:
    """Read as they come out, each compared with what is stored at that moment."""
    sandbox.set_faults(
        {"kind": "status", "status": 503, "every": 5, "times": None, "retry_after": "0"},
        {"kind": "slow", "delay_ms": 300, "every": 3, "times": None},
        {"kind": "reset_before_store", "every": 11, "times": None},
    )
    total = 6_000
    lines = [line for n in range(1, total + 1) for line in ([event(n), state(n=n)] if n % 100 == 0 else [event(n)])]
    speaker = threading.Thread(target=lambda: process.write(schema(), *lines))
    speaker.start()
    reached, seen = 0, 0
    while reached < total:
        reached = json.loads(process.line())["n"]
        seen += 1
        assert sandbox.summary()["distinct"] >= reached
    speaker.join()
    assert seen >= 2
    assert process.end()[0] == 0


@pytest.mark.skipif(not hasattr(fcntl, "F_GETPIPE_SZ"), reason="only Linux has pipes of any size")
def test_a_writer_may_be_a_megabyte_ahead(process: Process) -> None:
    """With the usual 64 KiB, `meltano run` takes a third as long again."""
    process.write(schema(), event(1), state(n=1))
    process.line()
    assert process.process.stdin is not None
    assert fcntl.fcntl(process.process.stdin, fcntl.F_GETPIPE_SZ) == 1 << 20
    assert process.end()[0] == 0


def test_a_batch_that_is_not_full_leaves_while_the_input_is_silent(process: Process, sandbox: SandboxServer) -> None:
    process.write(schema(), event(1), state(a=1))
    assert json.loads(process.line()) == {"a": 1}
    assert sandbox.summary()["valid"] == 1
    assert process.end()[0] == 0


def test_a_state_follows_its_acknowledgement_within_a_second_and_another_one_not_within_the_next(
    start_target: StartTarget, sandbox: SandboxServer
) -> None:
    process = start_target(batch_size_rows=1)
    total, pace, late = 100, 0.05, 0.4  # seconds between events, and for a machine that has other things to do

    def talk() -> None:
        process.write(schema())
        for number in range(1, total + 1):
            process.write(event(number), state(n=number))
            time.sleep(pace)

    speaker = threading.Thread(target=talk)
    speaker.start()
    said: list[tuple[int, float]] = []  # which state, and when
    while not said or said[-1][0] < total:
        said.append((json.loads(process.line())["n"], time.time()))
    speaker.join()
    assert process.end()[0] == 0
    moments = [moment for _, moment in said]
    assert len(said) >= 3
    assert all(after - before > 1 - late / 2 for before, after in itertools.pairwise(moments))
    for entry in sandbox.stored():
        stored_at = dt.datetime.fromisoformat(entry["received_at"]).timestamp()
        said_at = next(moment for number, moment in said if number >= int(entry["event"]["user_id"][1:]))
        assert 0 < said_at - stored_at < 1 + late


def test_no_state_is_written_behind_a_line_that_could_not_be_ended(tmp_path: Path) -> None:
    source, sink = os.pipe()
    rejects = RejectsWriter(str(tmp_path / "rejects"), "run", lambda: True)
    with os.fdopen(source, "rb") as reader, os.fdopen(sink, "w") as writer, contextlib.redirect_stdout(writer):
        states = StateWriter(rejects, None, lambda: True)
        states.offer(Checkpoint(b'{"large":"' + b"x" * (1 << 20) + b'"}', 1))
        with pytest.raises(TargetError, match="nobody reads standard output"):
            states.write(0.0, final=True)
        states.offer(Checkpoint(b'{"small":1}', 2))
        os.set_blocking(source, False)
        torn = reader.read()
        states.write(1.0, final=True)
        assert torn.startswith(b'{"large":"x')
        assert reader.read() is None


@pytest.mark.parametrize(
    ("redirection", "words"),
    [
        ("<&-", "no standard input"),
        ("0> {}/written", "the input cannot be read to its end (Bad file descriptor)"),
        (">&-", "no standard output"),
        ("> /dev/full", "cannot be written to standard output (No space left on device)"),
    ],
)
def test_a_stream_that_cannot_be_used_is_told_in_a_sentence(
    tmp_path: Path, sandbox: SandboxServer, redirection: str, words: str
) -> None:
    config = write_config(
        tmp_path, endpoint_url=sandbox.url, app_key=APP_KEY, rejects_path=str(tmp_path / "r"), journal_path=""
    )
    (tmp_path / "messages").write_text(schema() + event(1) + state(n=1))
    redirections = f"< {tmp_path / 'messages'} {redirection.format(tmp_path)}"
    command = f"{BIN / 'target-cooladata'} --config {config} {redirections}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
