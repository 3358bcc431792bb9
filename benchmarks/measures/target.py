"""The target alone: sending to nginx, near, far and bounded, against a stock target that sends nothing."""

from __future__ import annotations

import statistics
import typing as t

from benchmarks import checks
from benchmarks.bench import Bench, Figure, median, pace
from benchmarks.nginx import BORNE_CALLS
from benchmarks.processes import Ended, run

if t.TYPE_CHECKING:
    from pathlib import Path

_CONCURRENCY = 16
_FAR_EVENTS_A_SECOND = 48_000  # 16 calls of 300 events under way, 10 times a second
_SETTLING_CALLS, _SETTLED_CALLS = 50, 2_000


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


def bounded(bench: Bench) -> list[Figure]:
    """The calls refused by an end that takes 100 ms a call and answers 429 above four at once."""
    events = min(bench.sizes.events, (_SETTLING_CALLS + _SETTLED_CALLS) * checks.EVENTS_A_CALL)
    ours, shares = [], []
    for _ in range(bench.sizes.runs):
        bench.say("target, 429 above four calls: a round")
        need, place = bench.need(events), bench.place("target")
        bench.nginx.forget()
        command = bench.target_command("bounded", place, max_concurrency=_CONCURRENCY)
        ours.append(run(command, folder=place, stdin=bench.messages(events)))
        checks.delivered(ours[-1], bench.nginx.calls("bounded"), need, events)
        bench.remember_peaks({"target": ours[-1].peak_mb[0]})
        settled = bench.nginx.statuses("bounded")[_SETTLING_CALLS:]
        shares.append(100 * settled.count("429") / max(len(settled), 1))
    return [
        Figure(
            measure=f"target, 429 above {BORNE_CALLS} calls at once: calls refused after the first {_SETTLING_CALLS}",
            result=statistics.median(shares),
            unit="%",
            required=5,
            at_most=True,
            ours=pace("target", ours, events),
            peer=f"{BORNE_CALLS} calls of 300 events in 100 ms: 12,000 events/s",
            notes="share of each run: " + ", ".join(f"{share:.1f} %" for share in shares),
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
