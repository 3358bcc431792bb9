"""Commands and what they cost: in goes a pipe of commands, out come seconds, exit codes and peak memory of each.

Memory is VmHWM: from the kernel's account of an ended child, or, for processes that another command starts, read from
/proc while they run. Nothing is left running, whatever happens.
"""

# ruff: noqa: S603 - every command here is this package's own
from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
PYTHON = sys.executable
TIMEOUT_SECONDS = 3600.0
COUNT = ("wc", "-lc")  # the reader of a tap's pipe: lines and bytes
_POLL_SECONDS = 0.05

Command = t.Sequence[str | Path]


class WrongError(Exception):
    """A run did not do what it was to do, so its time says nothing."""


class Ended(msgspec.Struct, kw_only=True):
    """A pipe of commands that has ended.

    Attributes:
        seconds: from the start of the first to the end of the last.
        cpu_seconds: of each command, user and system.
        peak_mb: VmHWM of each command, in MB of 2**20 bytes; never less than this process's own, which it begins as.
        codes: the exit code of each.
        logs: what each wrote to standard error.
        output: what the last one wrote to standard output.
    """

    seconds: float
    cpu_seconds: list[float]
    peak_mb: list[float]
    codes: list[int]
    logs: list[str]
    output: str

    def require_success(self) -> Ended:
        """Return this, if every command exited with 0.

        Raises:
            WrongError: one did not.
        """
        for code, log in zip(self.codes, self.logs, strict=True):
            if code != 0:
                msg = f"a command exited with {code}:\n{log[-3000:]}"
                raise WrongError(msg)
        return self

    def report(self, field: str) -> dict[str, t.Any]:
        """Find the report that has this field in the logs.

        Raises:
            WrongError: there is none.
        """
        for line in "\n".join(self.logs).splitlines():
            _, mark, rest = line.partition("Report: ")
            if mark and f'"{field}"' in rest:
                found, _ = json.JSONDecoder().raw_decode(rest)
                return t.cast("dict[str, t.Any]", found)
        msg = f"no report with {field} was logged"
        raise WrongError(msg)


def run(*commands: Command, folder: Path, stdin: Path | None = None, stdout: Path | None = None) -> Ended:
    """Run commands, each reading what the one before it writes.

    Args:
        commands: one or more.
        folder: where to run them; their logs are kept there.
        stdin: what the first one reads; nothing if None.
        stdout: where the last one's output goes; a file in `folder` if None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output = stdout or folder / "stdout"
    children: list[subprocess.Popen[bytes]] = []
    started = time.monotonic()
    try:
        with Path(stdin or os.devnull).open("rb") as first, output.open("wb") as last:
            for index, command in enumerate(commands):
                source = children[-1].stdout if children else first
                sink = last if index == len(commands) - 1 else subprocess.PIPE
                children.append(_start(command, folder, index, source, sink))
                if len(children) > 1:
                    _close(children[-2])
        costs = _wait(children)
    finally:
        for child in children:
            _kill(child)
    return Ended(
        seconds=time.monotonic() - started,
        cpu_seconds=[usage.ru_utime + usage.ru_stime for _, usage in costs],
        peak_mb=[usage.ru_maxrss / 1024 for _, usage in costs],
        codes=[code for code, _ in costs],
        logs=[(folder / f"stderr-{index}").read_text(errors="replace") for index in range(len(commands))],
        output=output.read_text(errors="replace") if stdout is None else "",
    )


def _start(command: Command, folder: Path, index: int, source: t.Any, sink: t.Any) -> subprocess.Popen[bytes]:
    with (folder / f"stderr-{index}").open("wb") as log:
        return subprocess.Popen(
            [str(word) for word in command], stdin=source, stdout=sink, stderr=log, cwd=folder, env=environment()
        )


def environment() -> dict[str, str]:
    """The environment of every command: this one's, without what would set or colour anything, or slow a start."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TAP_", "TARGET_", "MELTANO_", "AWS_", "PYTHON")) and "proxy" not in name.lower()
    }
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "100000"}


def _wait(children: list[subprocess.Popen[bytes]]) -> list[tuple[int, t.Any]]:
    """Wait for each, by wait4, which alone tells of one child what it has used."""
    timer = threading.Timer(TIMEOUT_SECONDS, _kill_all, (children,))
    timer.start()
    costs = []
    try:
        for child in children:
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            costs.append((child.returncode, usage))
    finally:
        timer.cancel()
    return costs


def _kill_all(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()


def _kill(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None:
        child.kill()
        child.wait()


def _close(child: subprocess.Popen[bytes]) -> None:
    if child.stdout is not None:
        child.stdout.close()


class Watch:
    """Reads VmHWM of this process's descendants while a block runs: `peaks` by the word that a command line holds."""

    def __init__(self, *words: str) -> None:
        """Watch for command lines that hold one of `words`."""
        self.peaks: dict[str, float] = dict.fromkeys(words, 0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> t.Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            for pid in _descendants(os.getpid()):
                self._look(Path("/proc") / str(pid))

    def _look(self, process: Path) -> None:
        try:
            program = process.joinpath("cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            status = process.joinpath("status").read_text()
        except OSError:  # it has ended
            return
        peak = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), "0")
        for word in self.peaks:
            if word in program:
                self.peaks[word] = max(self.peaks[word], int(peak) / 1024)


def _descendants(pid: int) -> t.Iterator[int]:
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        for child in found:
            yield child
            yield from _descendants(child)
