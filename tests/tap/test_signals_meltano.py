"""State under the real `meltano run`: after SIGINT, SIGTERM or a full refresh it is what the loader got, no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import typing as t

import pytest
import yaml

from tests.commands import BIN
from tests.tap.conftest import TAP, Run, Workplace, event

if t.TYPE_CHECKING:
    from pathlib import Path

ROWS = 60_000

# Writes down what it gets, and hands each state back only once everything before it is on disk, as a target would. It
# is slow, so that the relay's buffers are full, and ends at once when a signal comes.
LOADER = """\
import json, os, signal, sys, time
kept = open(sys.argv[0] + ".kept", "ab")
for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, lambda *_: os._exit(1))
for number, line in enumerate(sys.stdin.buffer):
    kept.write(line)
    if b'"type":"STATE"' in line.replace(b" ", b"")[:40]:
        kept.flush()
        sys.stdout.write(json.dumps(json.loads(line)["value"]) + "\\n")
        sys.stdout.flush()
    if number == 3000:
        print("in the middle", file=sys.stderr, flush=True)
    if number > 3000 and number % 50 == 0:
        time.sleep(0.002)
"""


def project(place: Workplace) -> Path:
    """Make a Meltano project of the tap and a loader that keeps what it gets."""
    folder = place.folder / "project"
    folder.mkdir()
    loader = folder / "loader.py"
    loader.write_text(LOADER)
    tool = folder / "target-keep"
    tool.write_text(f"#!/bin/sh\nexec {BIN}/python {loader}\n")
    tool.chmod(0o700)
    tap = {
        "name": "tap-coolafile", "namespace": "tap_coolafile", "executable": TAP,
        "capabilities": ["catalog", "discover", "state"],
        "settings": [{"name": "uris"}, {"name": "rejects_path"}, {"name": "state_interval_rows", "kind": "integer"}],
        "config": {**place.config, "state_interval_rows": 1000},
    }  # fmt: skip
    target = {"name": "target-keep", "namespace": "target_keep", "executable": str(tool), "settings": []}
    document = {
        "project_id": "signals",
        "send_anonymous_usage_stats": False,
        "environments": [{"name": "test"}],
        "default_environment": "test",
        "plugins": {"extractors": [tap], "loaders": [target]},
    }
    (folder / "meltano.yml").write_text(yaml.safe_dump(document))
    return folder


def start(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "NO_COLOR": "1"}
    command = [str(BIN / "meltano"), "run", *options, "tap-coolafile", "target-keep"]
    return subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda signum: signum.name)
def test_a_signal_under_meltano_leaves_a_state_that_is_not_ahead_of_the_records(
    place: Workplace, signum: signal.Signals
) -> None:
    place.write("a.json", *(event(n) for n in range(ROWS)))
    folder = project(place)
    kept = folder / "loader.py.kept"
    meltano = start(folder)
    assert meltano.stdout is not None
    said = b""
    for line in meltano.stdout:
        said += line
        if b"in the middle" in line:
            break
    else:
        pytest.fail(said.decode())
    os.killpg(meltano.pid, signum)  # as a terminal does: Meltano and both plugins get it
    said += output_of(meltano)
    assert meltano.returncode != 0, said.decode()
    first = Run(whole_lines(kept.read_bytes()))
    assert 0 < len(first.users) < ROWS

    shown = subprocess.run(
        [str(BIN / "meltano"), "state", "get", "test:tap-coolafile-to-target-keep"],
        cwd=folder, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, check=True,
    )  # fmt: skip
    state = json.loads(shown.stdout)["singer_state"]
    position = [at for at, message in enumerate(first.messages) if message.get("value") == state]
    assert position, "Meltano keeps a state that the loader never got"
    before = Run(b"\n".join(first.lines[: position[-1]])).users
    kept.unlink()
    again = start(folder)
    said = output_of(again)
    assert again.returncode == 0, said.decode()
    assert before + Run(kept.read_bytes()).users == [f"u{n}" for n in range(ROWS)]


def test_a_full_refresh_leaves_a_state_that_the_next_run_goes_on_from(place: Workplace) -> None:
    for number, name in enumerate("bcd"):
        place.write(f"{name}.json", *(event(number * 3_000 + n) for n in range(3_000)))
    folder = project(place)
    kept = folder / "loader.py.kept"
    for more, users in ((["--full-refresh"], [f"u{n}" for n in range(9_000)]), ([], ["u9999"])):
        done = start(folder, *more)
        said = output_of(done)
        assert done.returncode == 0, said.decode()
        assert Run(kept.read_bytes()).users == users
        kept.unlink()
        place.write("a.json", event(9_999))


def output_of(meltano: subprocess.Popen[bytes]) -> bytes:
    """Wait for its end, and leave no process behind if there is none."""
    try:
        return meltano.communicate(timeout=60)[0]
    finally:
        if meltano.poll() is None:
            os.killpg(meltano.pid, signal.SIGKILL)


def whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]
