"""One run of the benchmarks: sizes, folder, servers, data, and the pair's commands at their defaults."""

from __future__ import annotations

import functools
import json
import statistics
import typing as t

import msgspec

from benchmarks import checks, data
from benchmarks.processes import BIN, PYTHON, Command, Ended, WrongError, run
from benchmarks.project import Project

if t.TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.nginx import Nginx

PROBE_ROWS = 3_000
CHECKED_ROWS = 20_000
_APP_KEY = "benchmark"
_BATCHES = {"encoding": {"format": "jsonl", "compression": "none"}}


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured.

    Attributes:
        events: of the measures by event.
        files: of the measure by file, each of `rows_each` rows.
        rows_each: see `files`.
        runs: of each command; figures are medians.
        scale: how many times `events` the large input has.
    """

    events: int = 1_000_000
    files: int = 2_000
    rows_each: int = 50
    runs: int = 3
    scale: int = 10


class Figure(msgspec.Struct, kw_only=True):
    """One line of the result table.

    Attributes:
        measure: what is measured.
        result: the ratio or amount, None if it cannot be measured.
        unit: of `result`: `x`, `%`, `MB`.
        required: the bound, in the same unit.
        at_most: the bound is an upper one.
        ours: what the pair came to.
        peer: what it is compared with, and what that came to.
        notes: what else a reader should know.
    """

    measure: str
    result: float | None
    unit: str = "x"
    required: float | None = None
    at_most: bool = False
    ours: str = ""
    peer: str = ""
    notes: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the bound holds; None where there is nothing to compare."""
        if self.result is None or self.required is None:
            return None
        return self.result <= self.required if self.at_most else self.result >= self.required


class Bench:
    """What measures share.

    Args:
        folder: for data, logs and all that the commands write.
        sizes: how much.
        nginx: a running one.
        say: takes a line on how things go.

    Attributes:
        stock_pair: the stock pair's runs under Meltano, which more than one measure is compared with.
        peaks: the peak memory of `tap` and `target` in MB over all runs so far.
    """

    def __init__(self, folder: Path, sizes: Sizes, nginx: Nginx, say: t.Callable[[str], object]) -> None:
        self.sizes = sizes
        self.nginx = nginx
        self.say = say
        self._folder = folder
        self._numbers: dict[str, int] = {}
        self.stock_pair: list[Ended] = []
        self.peaks: dict[str, float] = {}

    # Data

    def rows(self, shape: str, count: int) -> Path:
        """Give a file of so many rows of a shape, written when first asked for."""
        path = self._folder / f"{shape}-{count}.json"
        if not path.exists():
            self.say(f"writing {path.name}")
            data.write_rows(path, data.ROWS[shape](count))
        return path

    def messages(self, count: int) -> Path:
        """Give a file of so many plain rows as Singer messages."""
        path = self._folder / f"messages-{count}.jsonl"
        if not path.exists():
            self.say(f"writing {path.name}")
            data.write_messages(path, count)
        return path

    def files(self) -> Path:
        """Give the folder of many small files."""
        path = self._folder / "files"
        return path if path.exists() else data.write_files(path, self.sizes.files, self.sizes.rows_each)

    @functools.cached_property
    def _encoding(self) -> list[bytes]:
        """Bodies of the first plain rows, their content checked."""
        self.nginx.forget()
        command = self.target_command("probe", self.place("probe"))
        run(command, folder=self.place("probe"), stdin=self.messages(PROBE_ROWS)).require_success()
        found = self.nginx.bodies()
        checks.bodies(found, PROBE_ROWS)
        return found

    @functools.lru_cache(maxsize=8)  # noqa: B019 - one instance, for one run
    def need(self, count: int) -> checks.Need:
        """Give the body bytes that so many plain rows need."""
        return checks.Need(self._encoding).measure(self.rows("plain", count))

    # Commands

    def place(self, name: str) -> Path:
        """Give a new folder for one run of a command."""
        self._numbers[name] = self._numbers.get(name, 0) + 1
        path = self._folder / f"{name}-{self._numbers[name]}"
        path.mkdir(parents=True)
        return path

    def tap_settings(self, place: Path, **more: t.Any) -> dict[str, t.Any]:
        """Give the tap's settings: defaults but for what has to be said."""
        return {"rejects_path": str(place / "rejects-tap"), **more}

    def target_settings(self, end: str, place: Path, **more: t.Any) -> dict[str, t.Any]:
        """Give the target's settings: defaults but for what has to be said."""
        paths = {"rejects_path": str(place / "rejects-target"), "journal_path": str(place / "journal")}
        return {"endpoint_url": self.nginx.url(end), "app_key": _APP_KEY, **paths, **more}

    def tap_command(self, place: Path, **more: t.Any) -> Command:
        """Give the tap's command."""
        return [BIN / "tap-coolafile", "--config", _config(place / "tap.json", self.tap_settings(place, **more))]

    def target_command(self, end: str, place: Path, **more: t.Any) -> Command:
        """Give the target's command."""
        settings = self.target_settings(end, place, **more)
        return [BIN / "target-cooladata", "--config", _config(place / "target.json", settings)]

    def stock_tap_command(self, place: Path, shape: str, rows: Path) -> Command:
        """Give the stock tap's command."""
        config = _config(place / "tap.json", {"path": str(rows), "shape": shape})
        return [PYTHON, "-m", "benchmarks.peers.stock_tap", "--config", config]

    def stock_target_command(self) -> Command:
        """Give the stock target's command."""
        return [PYTHON, "-m", "benchmarks.peers.stock_target"]

    def project(self, *, batches: bool = False) -> Project:
        """Make a Meltano project over the plain rows."""
        place, count = self.place("project"), self.sizes.events
        tap: dict[str, t.Any] = {}
        target: dict[str, t.Any] = {}
        if batches:
            (place / "batches").mkdir()
            tap["batch_config"] = {**_BATCHES, "storage": {"root": f"file://{place / 'batches'}"}}
            target["batch_root"] = str(place / "batches")
        settings = {
            "tap-coolafile": self.tap_settings(place, uris=[str(self.rows("plain", count))], **tap),
            "target-cooladata": self.target_settings("near", place, **target),
        }
        return Project(place / "meltano", settings, self.rows("plain", count), self.messages(count))

    # Results

    def remember_peaks(self, peaks: t.Mapping[str, float]) -> None:
        """Take the peak memory of processes in MB, by name."""
        for name, peak in peaks.items():
            self.peaks[name] = max(self.peaks.get(name, 0.0), peak)

    def remove(self, path: Path) -> None:
        """Remove a file of the data, large as it is."""
        if self._folder not in path.parents:
            msg = f"{path} is not a file of this run"
            raise WrongError(msg)
        path.unlink(missing_ok=True)


def median(ended: t.Iterable[Ended]) -> float:
    """Give the median of the runs' seconds."""
    return statistics.median(one.seconds for one in ended)


def pace(name: str, ended: t.Sequence[Ended], events: int) -> str:
    """Say how a command did: events a second by the median, the runs' seconds, CPU seconds, peak memory."""
    seconds = ", ".join(f"{one.seconds:.2f}" for one in ended)
    cpu = statistics.median(one.cpu_seconds[0] for one in ended)
    peak = max(one.peak_mb[0] for one in ended)
    return f"{name}: {events / median(ended):,.0f} events/s ({seconds} s; {cpu:.2f} s CPU; {peak:.0f} MB)"


def _config(path: Path, settings: dict[str, t.Any]) -> Path:
    path.write_text(json.dumps(settings))
    return path
