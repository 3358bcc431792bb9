"""The result table: in go figures, out comes Markdown with the date, the machine and the versions."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import subprocess
import time
import typing as t
from pathlib import Path

import msgspec

from benchmarks.processes import ROOT

if t.TYPE_CHECKING:
    from benchmarks.bench import Figure, Sizes

_MEASURED = ("tap-coolafile", "target-cooladata", "benchmarks/*.py", "meltano.yml")
_PACKAGES = ("singer-sdk", "meltano", "msgspec", "requests", "boto3", "moto")


class Start(msgspec.Struct, frozen=True):
    """What was so before the first run.

    Attributes:
        code: the commit, and whether there were changes on top of it.
        load: the machine's load average.
        moment: monotonic, in seconds.
    """

    code: str
    load: str
    moment: float

    @classmethod
    def now(cls) -> Start:
        """Look."""
        return cls(_commit(), ", ".join(f"{load:.2f}" for load in os.getloadavg()), time.monotonic())


def table(figures: t.Sequence[Figure]) -> str:
    """Give the table of figures."""
    names = ("measure", "result", "required", "holds", "pair", "peer", "notes")
    return "\n".join([_row(names), _row(["---"] * len(names)), *map(_line, figures)])


def document(figures: t.Sequence[Figure], sizes: Sizes, *, nginx: str, start: Start) -> str:
    """Give the whole result file.

    Args:
        figures: what was measured.
        sizes: on how much.
        nginx: its version.
        start: what was so before the first run.
    """
    now = dt.datetime.now(dt.UTC)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    return f"""# Benchmarks of {now:%Y-%m-%d}

Written by `python -m benchmarks` at {now:%H:%M} UTC, after {(time.monotonic() - start.moment) / 60:.0f} minutes.

- Code: {start.code}
- Machine: {_machine()}; load average before the first run: {start.load}
- Versions: Python {platform.python_version()}, {versions}, nginx {nginx}
- Sizes: {sizes.events:,} events; {sizes.files:,} files of {sizes.rows_each} rows; figures are ratios of medians of \
{sizes.runs} runs, in which pair and peer take turns unless a note says other

Settings are at their defaults but for addresses, keys and paths. Every run was checked: exit codes, the reports'
equations, and nginx's count of calls and body bytes against what the events need. Seconds are of whole processes, with
their start. MB are peak memory (VmHWM).

{table(figures)}
"""


def _line(figure: Figure) -> str:
    holds = {True: "yes", False: "**no**", None: ""}[figure.is_met]
    bound = ""
    if figure.required is not None:
        bound = f"{'≤' if figure.at_most else '≥'} {_amount(figure.required, figure.unit)}"
    result = "-" if figure.result is None else f"**{_amount(figure.result, figure.unit)}**"
    cells = (figure.measure, result, bound, holds, figure.ours, figure.peer, figure.notes)
    return _row(cells)


def _row(cells: t.Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _amount(value: float, unit: str) -> str:
    return f"{value:.3g} ×" if unit == "x" else f"{value:.0f} {unit}"  # noqa: RUF001 - it does mean times


def _machine() -> str:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model}, {memory:.0f} GB, {platform.system()} {platform.release()}"


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607 - git
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", *_MEASURED)
    return f"commit {git('rev-parse', '--short', 'HEAD') or 'unknown'}" + (
        " and changes on top of it" if changed else ""
    )
