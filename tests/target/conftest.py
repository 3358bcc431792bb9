"""Fixtures for the target: the command, sending to a real sandbox."""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t

import pytest

from tests.commands import BIN, Finished, run, write_config
from tests.singer import APP_KEY

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer


class RunTarget(t.Protocol):
    """Runs the target on some messages, with settings beside the usual ones."""

    def __call__(self, *lines: str, env: t.Mapping[str, str] | None = None, **settings: t.Any) -> Finished: ...


@pytest.fixture
def run_target(sandbox: SandboxServer, tmp_path: Path) -> RunTarget:
    """The target's command, sending to the test's sandbox, its rejects below the test's folder."""

    def command(*lines: str, env: t.Mapping[str, str] | None = None, **settings: t.Any) -> Finished:
        usual = {
            "endpoint_url": sandbox.url, "app_key": APP_KEY, "rejects_path": str(tmp_path / "rejects"),
            "journal_path": str(tmp_path / "journal"),
        }  # fmt: skip
        config = write_config(tmp_path, **(usual | settings))
        return run("target-cooladata", "--config", config, stdin="".join(lines), env=env)

    return command


class Process:
    """The target as a process that is written to bit by bit."""

    def __init__(self, config: Path, env: t.Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(BIN / "target-cooladata"), "--config", str(config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, **(env or {})},
        )  # fmt: skip

    def write(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(lines))
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


class StartTarget(t.Protocol):
    """Starts the target as a process, with settings beside the usual ones."""

    def __call__(self, *, env: t.Mapping[str, str] | None = None, **settings: t.Any) -> Process: ...


@pytest.fixture
def start_target(sandbox: SandboxServer, tmp_path: Path) -> t.Iterator[StartTarget]:
    """The target's command, sending to the test's sandbox; what still runs at the end is killed."""
    started: list[Process] = []

    def start(*, env: t.Mapping[str, str] | None = None, **settings: t.Any) -> Process:
        usual = {
            "endpoint_url": sandbox.url, "app_key": APP_KEY, "rejects_path": str(tmp_path / "rejects"),
            "journal_path": str(tmp_path / "journal"), "max_batch_age_seconds": 1,
        }  # fmt: skip
        started.append(Process(write_config(tmp_path, **(usual | settings)), env))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def process(start_target: StartTarget) -> Process:
    """A target that has been started."""
    return start_target()
