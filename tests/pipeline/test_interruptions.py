"""The pair under the real Meltano, stopped in the middle and run again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import typing as t

import pytest

from tests.commands import BIN
from tests.pipeline.test_meltano import PAIR, Project
from tests.singer import APP_KEY

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer

ROWS = 12_000
CALL = 100
CONCURRENCY = 4


@pytest.fixture
def project(tmp_path: Path, sandbox: SandboxServer) -> Project:
    project = Project(
        tmp_path / "project",
        tap_coolafile={"uris": "in/", "state_interval_rows": 500},
        target_cooladata={
            "endpoint_url": sandbox.url, "app_key": APP_KEY, "batch_size_rows": CALL, "max_concurrency": CONCURRENCY,
            "report_path": "report.json",
        },
    )  # fmt: skip
    for number in range(4):
        part = range(number * ROWS // 4, (number + 1) * ROWS // 4)
        project.rows(
            f"{number}.json",
            *({"event_name": "e", "user_id": f"u{row}", "event_time_ts": 1350273990000 + row} for row in part),
        )
    assert project.meltano("install").code == 0
    return project


def wait_until_gone(group: int) -> None:
    """Meltano does not wait for its plugins, which may end a call and write their last state."""
    until = time.monotonic() + 30
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_that_is_stopped_goes_on_where_it_was_and_repeats_only_what_was_in_flight(
    project: Project, sandbox: SandboxServer, number: signal.Signals
) -> None:
    sandbox.set_faults({"kind": "slow", "delay_ms": 50, "times": None})
    stops = 2
    for stop in range(1, stops + 1):
        log = project.folder / f"log{stop}"
        with log.open("w") as output:
            process = subprocess.Popen(
                [BIN / "meltano", "run", "--force", *PAIR], cwd=project.folder, stdout=output, stderr=output,
                env={**os.environ, "NO_COLOR": "1"}, start_new_session=True,
            )  # fmt: skip
            while sandbox.summary()["distinct"] < stop * ROWS // (stops + 1):
                assert process.poll() is None, log.read_text()
            # As a terminal, a container or the kernel does it: to Meltano and to both plugins.
            os.killpg(process.pid, number)
            process.wait(60)
            wait_until_gone(process.pid)
        assert process.returncode != 0
        text = log.read_text()
        report = project.folder / "report.json"  # Meltano drops what its plugins log after a signal
        assert report.exists() is (number != signal.SIGKILL), text
        if report.exists():
            assert json.loads(report.read_text())["equation_closes"]
            report.unlink()
        assert "Traceback" not in "".join(line for line in text.splitlines() if PAIR[0] in line or PAIR[1] in line)
    sandbox.clear_faults()
    done = project.meltano("run", "--force", *PAIR)  # after SIGKILL, Meltano takes the run for one under way
    assert done.code == 0, done.stderr
    summary = sandbox.summary()
    assert summary["distinct"] == ROWS
    in_flight = stops * CALL * CONCURRENCY
    assert summary["events"] - ROWS <= in_flight
