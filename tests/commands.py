"""The commands of this environment, run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

BIN = Path(sys.executable).parent


class Finished(t.NamedTuple):
    """A command that has ended.

    Attributes:
        code: its exit code.
        stdout: what it printed.
        stderr: what it logged.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def states(self) -> list[t.Any]:
        """The states that a target printed."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def messages(self) -> list[dict[str, t.Any]]:
        """The messages that a tap printed."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def report(self) -> dict[str, t.Any]:
        """The report that a tap or target logged."""
        line = next(line for line in self.stderr.splitlines() if "Report: {" in line)
        return t.cast("dict[str, t.Any]", json.loads(line[line.index("Report: {") + len("Report: ") :]))

    @property
    def complaints(self) -> list[str]:
        """The lines logged as errors, without their prefix."""
        return [line.split("| ")[-1] for line in self.stderr.splitlines() if "| ERROR" in line]


def run(
    *command: str | Path,
    stdin: str | bytes = b"",
    env: t.Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 120,
) -> Finished:
    """Run one of this environment's commands to its end."""
    name, *arguments = map(str, command)
    executable = BIN / name
    done = subprocess.run(
        [str(executable) if executable.exists() else name, *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        timeout=seconds,
        check=False,
    )
    return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


def write_config(folder: Path, **settings: t.Any) -> Path:
    """Write a configuration file for `--config`."""
    path = folder / "config.json"
    path.write_text(json.dumps(settings))
    return path
