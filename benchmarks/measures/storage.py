"""Many small files on an S3 server that is 20 ms away."""

from __future__ import annotations

import typing as t

from benchmarks import checks
from benchmarks.bench import Bench, Figure, median, pace
from benchmarks.processes import COUNT, Ended, WrongError, run
from benchmarks.storage import Storage


def s3(bench: Bench) -> list[Figure]:
    """Many small files on an S3 server with 20 ms added to each request, against reading one at a time."""
    folder, ours, single = bench.files(), [], []
    place = bench.place("s3")
    with Storage(bench.nginx.moto_port, place / "moto.log") as storage:
        storage.put(folder)
        slow = storage.settings(bench.nginx.storage_port)
        for _ in range(bench.sizes.runs):
            bench.say("files on S3: a round")
            single.append(_read_files(bench, slow | {"prefetch_files": 1}))
            ours.append(_read_files(bench, slow))
        direct = _read_files(bench, storage.settings(), counted=False)
    rows = bench.sizes.files * bench.sizes.rows_each
    return [
        Figure(
            measure=f"{bench.sizes.files:,} files of {bench.sizes.rows_each} rows on S3, 20 ms added to each request",
            result=median(single) / median(ours),
            required=4,
            ours=pace("tap", ours, rows),
            peer=pace("`prefetch_files` 1", single, rows),
            notes=f"without the delay, which is what moto itself can do: {direct.seconds:.2f} s",
        )
    ]


def _read_files(bench: Bench, settings: dict[str, t.Any], *, counted: bool = True) -> Ended:
    place = bench.place("s3")
    bench.nginx.forget()
    ended = run(bench.tap_command(place, **settings), COUNT, folder=place)
    checks.tap(ended, bench.sizes.files * bench.sizes.rows_each)
    if counted and bench.nginx.objects() != bench.sizes.files:
        msg = f"{bench.nginx.objects()} objects were got for {bench.sizes.files} files"
        raise WrongError(msg)
    bench.remember_peaks({"tap": ended.peak_mb[0]})
    return ended
