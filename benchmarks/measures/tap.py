"""The tap alone: from disk, against a stock tap and against decoding alone; and how soon it starts."""

from __future__ import annotations

import statistics
import subprocess
import time
import typing as t

from benchmarks import checks
from benchmarks.bench import CHECKED_ROWS, Bench, Figure, median, pace
from benchmarks.processes import COUNT, PYTHON, Ended, WrongError, environment, run

if t.TYPE_CHECKING:
    from pathlib import Path

_START_RUNS = 7


def tap(bench: Bench) -> list[Figure]:
    """The tap alone, integer times, against a stock tap and against decoding alone."""
    figure, ours = _tap(bench, "plain", "tap alone, integer times", 12)
    bare = []
    for _ in range(bench.sizes.runs):
        rows, place = bench.rows("plain", bench.sizes.events), bench.place("bare")
        bare.append(run([PYTHON, "-m", "benchmarks.peers.bare_decode", rows], folder=place).require_success())
    limit = Figure(
        measure="... against the physical limit, decoding each line",
        result=median(bare) / median(ours),
        ours=pace("tap", ours, bench.sizes.events),
        peer=pace("bare msgspec loop", bare, bench.sizes.events),
    )
    return [figure, limit]


def tap_seed(bench: Bench) -> list[Figure]:
    """The tap alone, rows of the seed page's shape, against a stock tap on the same rows."""
    return [_tap(bench, "seed", "tap alone, seed-shaped rows", 7)[0]]


def _tap(bench: Bench, shape: str, measure: str, required: float) -> tuple[Figure, list[Ended]]:
    _check_records(bench, shape)
    events = bench.sizes.events
    rows = bench.rows(shape, events)
    stock, ours = [], []
    for _ in range(bench.sizes.runs):
        bench.say(f"{measure}: a round")
        place = bench.place("tap")
        stock.append(run(bench.stock_tap_command(place, shape, rows), COUNT, folder=place).require_success())
        place = bench.place("tap")
        ours.append(run(bench.tap_command(place, uris=[str(rows)]), COUNT, folder=place))
        checks.tap(ours[-1], events)
        _check_lines(stock[-1], events)
        _check_lines(ours[-1], events)
        bench.remember_peaks({"tap": ours[-1].peak_mb[0]})
    figure = Figure(
        measure=measure,
        result=median(stock) / median(ours),
        required=required,
        ours=pace("tap", ours, events),
        peer=pace("stock tap", stock, events),
    )
    return figure, ours


def _check_records(bench: Bench, shape: str) -> None:
    """Compare what the tap makes of the first rows with what they must become."""
    place, count = bench.place("tap"), min(CHECKED_ROWS, bench.sizes.events)
    out = place / "messages"
    ended = run(bench.tap_command(place, uris=[str(bench.rows(shape, count))]), folder=place, stdout=out)
    checks.tap(ended, count)
    with out.open(encoding="utf-8") as lines:
        checks.records(lines, shape, count)


def _check_lines(ended: Ended, rows: int) -> None:
    lines = int(ended.output.split()[0])
    if not rows < lines <= rows + rows // 1000 + 100:
        msg = f"a tap wrote {lines} lines for {rows} rows"
        raise WrongError(msg)


def start(bench: Bench) -> list[Figure]:
    """From the start to the first RECORD of a one-row file, against `--version` of a stock tap."""
    rows = bench.rows("plain", 1)
    ours, stock = [], []
    for _ in range(_START_RUNS):
        place = bench.place("start")
        version = run([PYTHON, "-m", "benchmarks.peers.stock_tap", "--version"], folder=place).require_success()
        stock.append(version.seconds)
        ours.append(_first_record(bench, rows))
    return [
        Figure(
            measure="start to first RECORD of a one-row file",
            result=statistics.median(ours) / statistics.median(stock),
            required=1.5,
            at_most=True,
            ours=f"tap: {statistics.median(ours):.2f} s",
            peer=f"stock tap's `--version`: {statistics.median(stock):.2f} s",
        )
    ]


def _first_record(bench: Bench, rows: Path) -> float:
    place = bench.place("start")
    command = [str(word) for word in bench.tap_command(place, uris=[str(rows)])]
    with (place / "stderr").open("wb") as log:
        began = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=place, env=environment())  # noqa: S603 - as above
        with child:
            lines: t.Iterable[bytes] = child.stdout or ()
            for line in lines:
                if line.startswith(b'{"type":"RECORD"'):
                    seconds = time.monotonic() - began
                    break
            else:
                msg = "the tap wrote no RECORD"
                raise WrongError(msg)
            for _ in lines:
                pass
    if child.returncode != 0:
        msg = f"the tap exited with {child.returncode}"
        raise WrongError(msg)
    return seconds
