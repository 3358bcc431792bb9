"""The measures: in goes a `Bench`, out come the figures of one measure, each of runs that were checked.

The runs of a measure and of its peer take turns, so that a busy minute of the machine hits both.
"""

from __future__ import annotations

import typing as t

from benchmarks.bench import Bench, Figure
from benchmarks.measures import pair, storage, tap, target


def memory(bench: Bench) -> list[Figure]:
    """The peak memory of tap and target over all runs so far."""
    bounds = {"tap": 150.0, "target": 200.0}
    return [
        Figure(
            measure=f"peak memory of the {name}, over all runs",
            result=bench.peaks.get(name),
            unit="MB",
            required=bound,
            at_most=True,
            notes="VmHWM" if name in bench.peaks else "not measured: no run of it",
        )
        for name, bound in bounds.items()
    ]


MEASURES: dict[str, t.Callable[[Bench], list[Figure]]] = {
    "tap": tap.tap,
    "tap-seed": tap.tap_seed,
    "start": tap.start,
    "target": target.target,
    "far": target.far,
    "bounded": target.bounded,
    "meltano": pair.meltano,
    "batch": pair.batch,
    "s3": storage.s3,
    "scale": pair.scale,
    "memory": memory,
}
"""By the names that the command line takes, in the order in which they run."""
