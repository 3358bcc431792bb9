"""The pair as a whole: under `meltano run`, with BATCH messages, and in a plain pipe on a large file."""

from __future__ import annotations

import typing as t

from benchmarks import checks
from benchmarks.bench import Bench, Figure, median, pace
from benchmarks.processes import Ended, run
from benchmarks.project import CAT, OURS, STOCK

if t.TYPE_CHECKING:
    from benchmarks.project import Project


def meltano(bench: Bench) -> list[Figure]:
    """The pair under `meltano run`, sending to nginx, against the stock pair and against the relay's limit."""
    project, events = bench.project(), bench.sizes.events
    cats, ours, stock = [], [], []
    for _ in range(bench.sizes.runs):
        bench.say("meltano run: a round")
        cats.append(project.run(CAT))
        ours.append(_run_pair(bench, project))
        stock.append(project.run(STOCK))
    bench.stock_pair = stock
    return [
        Figure(
            measure="`meltano run` of the pair, sending to nginx",
            result=median(stock) / median(ours),
            required=8,
            ours=pace("pair", ours, events),
            peer=pace("stock pair that sends nothing", stock, events),
            notes="CPU is that of `meltano` and all it starts, MB the largest single process of these; "
            + ", ".join(f"{name} {peak:.0f} MB" for name, peak in project.peaks.items())
            + "; Meltano is told of no settings but those given: all of the pair's add some 0.5 s to each start",
        ),
        Figure(
            measure="... against the relay's limit",
            result=median(cats) / median(ours),
            ours=pace("pair", ours, events),
            peer=pace("`cat` into `cat`", cats, events),
        ),
    ]


def batch(bench: Bench) -> list[Figure]:
    """The same with BATCH messages."""
    project, events = bench.project(batches=True), bench.sizes.events
    ours = []
    for _ in range(bench.sizes.runs):
        bench.say("meltano run with BATCH: a round")
        ours.append(_run_pair(bench, project))
        if len(bench.stock_pair) < bench.sizes.runs:  # by far the longest, so not twice
            bench.stock_pair.append(project.run(STOCK))
    stock = bench.stock_pair
    return [
        Figure(
            measure="the same with BATCH messages",
            result=median(stock) / median(ours),
            required=12,
            ours=pace("pair", ours, events),
            peer=pace("stock pair that sends nothing", stock, events),
            notes="the stock pair's runs are those of the measure before, with which these took no turns",
        )
    ]


def _run_pair(bench: Bench, project: Project) -> Ended:
    events = bench.sizes.events
    need = bench.need(events)
    bench.nginx.forget()
    ended = project.run(OURS)
    checks.tap(ended, events)
    checks.target(ended, bench.nginx.calls("near"), need, events)
    bench.remember_peaks(project.peaks)
    return ended


def scale(bench: Bench) -> list[Figure]:
    """The pair in a plain pipe on a large file against a small one, by event."""
    small, large = bench.sizes.events, bench.sizes.events * bench.sizes.scale
    few, many = [], []
    for _ in range(bench.sizes.runs):
        bench.say("large input: a round")
        few.append(_pipe(bench, small))
        many.append(_pipe(bench, large))
    path = bench.rows("plain", large)
    size = path.stat().st_size
    bench.remove(path)
    return [
        Figure(
            measure=f"cost per event at {large:,} events ({size / 1e9:.1f} GB) against {small:,}, in a plain pipe",
            result=median(many) / bench.sizes.scale / median(few),
            required=1.1,
            at_most=True,
            ours=pace("pair", many, large),
            peer=pace("pair", few, small),
            notes=f"at {large:,} events: tap {max(one.peak_mb[0] for one in many):.0f} MB, "
            f"target {max(one.peak_mb[1] for one in many):.0f} MB",
        )
    ]


def _pipe(bench: Bench, events: int) -> Ended:
    place, need = bench.place("pipe"), bench.need(events)
    bench.nginx.forget()
    tap_ = bench.tap_command(place, uris=[str(bench.rows("plain", events))])
    ended = run(tap_, bench.target_command("near", place), folder=place)
    checks.tap(ended, events)
    checks.target(ended, bench.nginx.calls("near"), need, events)
    bench.remember_peaks({"tap": ended.peak_mb[0], "target": ended.peak_mb[1]})
    return ended
