"""The target alone: sending to nginx, near and far, against a stock target that sends nothing."""

from __future__ import annotations

import typing as t

from benchmarks import checks
from benchmarks.bench import Bench, Figure, median, pace
from benchmarks.processes import Ended, run

if t.TYPE_CHECKING:
    from pathlib import Path

_CONCURRENCY = 16
_FAR_EVENTS_A_SECOND = 48_000  # 16 calls of 300 events under way, 10 times a second


def target(bench: Bench) -> list[Figure]:
    """The target alone, sending to nginx, against a stock target that sends nothing."""
    events = bench.sizes.events
    messages, stock, ours = bench.messages(events), [], []
    for _ in range(bench.sizes.runs):
        bench.say("target alone: a round")
        place = bench.place("target")
        stock.append(run(bench.stock_target_command(), folder=place, stdin=messages).require_success())
        ours.append(_load(bench, "near", messages, events))
    return [
        Figure(
            measure="target alone, sending to nginx",
            result=median(stock) / median(ours),
            required=10,
            ours=pace("target", ours, events),
            peer=pace("stock target that sends nothing", stock, events),
        )
    ]


def far(bench: Bench) -> list[Figure]:
    """The target at 100 ms a call and 16 calls at once, against what these allow."""
    events = bench.sizes.events
    ours = []
    for _ in range(bench.sizes.runs):
        bench.say("target, 100 ms a call: a round")
        ours.append(_load(bench, "far", bench.messages(events), events, max_concurrency=_CONCURRENCY))
    took = bench.nginx.calls("far").seconds
    return [
        Figure(
            measure="target, 100 ms a call, `max_concurrency` 16",
            result=100 * events / median(ours) / _FAR_EVENTS_A_SECOND,
            unit="%",
            required=90,
            ours=pace("target", ours, events),
            peer=f"16 calls of 300 events in 100 ms: {_FAR_EVENTS_A_SECOND:,} events/s",
            notes=f"start and ramp included; nginx itself took {1000 * took:.0f} ms a call (median)",
        )
    ]


def _load(bench: Bench, end: str, messages: Path, events: int, **more: t.Any) -> Ended:
    need = bench.need(events)
    place = bench.place("target")
    bench.nginx.forget()
    ended = run(bench.target_command(end, place, **more), folder=place, stdin=messages)
    checks.target(ended, bench.nginx.calls(end), need, events)
    bench.remember_peaks({"target": ended.peak_mb[0]})
    return ended
