"""`python -m benchmarks [name …]`: measure, print the table, and write it down beside this file."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
import typing as t
from pathlib import Path

import msgspec

from benchmarks import results
from benchmarks.bench import Bench, Figure, Sizes
from benchmarks.measures import MEASURES
from benchmarks.nginx import Nginx
from benchmarks.processes import WrongError

_QUICK = Sizes(events=30_000, files=200, runs=1, scale=3)
_LARGE = "scale"  # writes a file of 3 GB, so it runs only when asked for
_NOT_ASKED = Figure(
    measure="cost per event, large input against small",
    result=None,
    required=1.1,
    at_most=True,
    notes=f"not measured: `--full` or `{_LARGE}` asks for it",
)


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Run the measures that were asked for; return the exit code: 1 if a run did not do its work."""
    asked = _parser().parse_args(arguments)
    sizes = _sizes(asked)
    names = asked.names or [name for name in MEASURES if asked.full or name != _LARGE]
    start = results.Start.now()
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=asked.folder) as folder:
        try:
            with Nginx(Path(folder) / "nginx") as nginx:
                version = nginx.version()
                figures = _measure(Bench(Path(folder), sizes, nginx, _say), names)
                if not asked.names and _LARGE not in names:
                    figures.append(_NOT_ASKED)
        except WrongError as wrong:
            _say(f"WRONG, so nothing is written: {wrong}")
            return 1
    text = results.document(figures, sizes, nginx=version, start=start)
    sys.stdout.write(text)
    if path := _path(asked):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        _say(f"written to {path}")
    return 0


def _measure(bench: Bench, names: t.Sequence[str]) -> list[Figure]:
    figures = []
    for name in sorted(names, key=list(MEASURES).index):
        _say(f"== {name}")
        found = MEASURES[name](bench)
        for figure in found:
            _say(f"{figure.measure}: {figure.result}; {figure.ours}; {figure.peer}; {figure.notes}")
        figures += found
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Measures the pair against stock peers.")
    parser.add_argument("names", nargs="*", metavar="name", choices=[*MEASURES, []], help=", ".join(MEASURES))
    parser.add_argument("--full", action="store_true", help=f"also `{_LARGE}`, which writes a file of 3 GB")
    parser.add_argument("--quick", action="store_true", help="small sizes, one run: to see that all works")
    parser.add_argument("--events", type=int, help=f"instead of {Sizes().events:,}")
    parser.add_argument("--files", type=int, help=f"instead of {Sizes().files:,}")
    parser.add_argument("--runs", type=int, help=f"instead of {Sizes().runs}; figures are medians")
    parser.add_argument(
        "--folder", type=Path, help="where data is written meanwhile; the temporary folder if not given"
    )
    parser.add_argument("--out", type=Path, help="the result file; results/<date>.md unless sizes were given")
    return parser


def _sizes(asked: argparse.Namespace) -> Sizes:
    given = {name: getattr(asked, name) for name in ("events", "files", "runs") if getattr(asked, name) is not None}
    return msgspec.structs.replace(_QUICK if asked.quick else Sizes(), **given)


def _path(asked: argparse.Namespace) -> Path | None:
    if asked.out is not None:
        return t.cast("Path", asked.out)
    if asked.names or _sizes(asked) != Sizes():
        return None  # such a table would stand for the whole one
    return Path(__file__).parent / "results" / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}.md"


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
