"""Files that come, grow, change, go and come back between runs that stop anywhere: no row is missed, none repeated.

A target keeps the records before some STATE of a run, and the next run starts from that STATE: so a row may come twice
only behind the last state, and among what is kept each row stands once.
"""

from __future__ import annotations

import collections
import contextlib
import gzip
import os
import tempfile
import typing as t
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tap_coolafile.exceptions import BadFileError, MissingFileError
from tests.tap.conftest import Run, Workplace, event

NAMES = ["a.json", "a/b.json", "a-/c.json", "b.json", "b/é +%.json", "c.json", "d.json.gz"]
URIS = [[""], ["**/*.json*"], ["a/", ""], ["*.json*", "*/*.json"], ["a.json*", "b/", "**/*"]]
STAMPS = [1, 1_500_000_000, 1_500_000_000, 1_800_000_000, 4_000_000_000]
BROKEN = "{broken"


class Files(RuleBasedStateMachine):
    """Changes to files, and runs over them."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.place = Workplace(Path(self._folder.name))
        self.place.config |= {"allow_compressed": True}
        self.lines: dict[str, list[str]] = {}
        self.away: dict[str, list[str]] = {}
        self.ended: set[str] = set()
        self.kept: list[str] = []
        self.state: t.Any = None
        self.count = 0

    def teardown(self) -> None:
        """Run to the end, and compare what was kept with what lies there."""
        for rule_for_changed in ("append", "append", "append", "reload"):
            self.load(uris=[""], on_changed_file=rule_for_changed)
        self._folder.cleanup()
        assert [user for user, times in collections.Counter(self.kept).items() if times > 1] == []
        there = {f"u{line}" for lines in self.lines.values() for line in lines if line != BROKEN}
        assert there - set(self.kept) == set()

    @rule(name=st.sampled_from(NAMES), rows=st.integers(0, 4), broken=st.booleans(), stamp=st.sampled_from(STAMPS))
    def add_or_append(self, name: str, rows: int, *, broken: bool, stamp: int) -> None:
        if name not in self.away:
            self.lines[name] = self.lines.get(name, []) + self.new(rows) + [BROKEN] * (broken and rows > 0)
            self.write(name, stamp)

    @precondition(lambda self: self.lines)
    @rule(data=st.data(), stamp=st.sampled_from(STAMPS))
    def end_the_last_line(self, data: st.DataObject, stamp: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.lines)))
        self.ended.add(name)
        self.write(name, stamp)

    @precondition(lambda self: self.lines)
    @rule(data=st.data(), stamp=st.sampled_from(STAMPS))
    def touch(self, data: st.DataObject, stamp: int) -> None:
        self.write(data.draw(st.sampled_from(sorted(self.lines))), stamp)

    @precondition(lambda self: self.lines)
    @rule(data=st.data(), stamp=st.sampled_from(STAMPS))
    def overwrite(self, data: st.DataObject, stamp: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.lines)))
        self.lines[name] = self.new(len(self.lines[name]) + 1)  # never as long as it was: the size tells local files
        self.write(name, stamp)

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def take_away(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.lines)))
        self.away[name] = self.lines.pop(name)
        (self.place.data / name).rename(self.place.folder / name.replace("/", "_"))

    @precondition(lambda self: self.away)
    @rule(data=st.data())
    def bring_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.away)))
        self.lines[name] = self.away.pop(name)
        (self.place.folder / name.replace("/", "_")).rename(self.place.data / name)

    @rule(uris=st.sampled_from(URIS), interval=st.integers(1, 4), stop=st.integers(0, 12))
    def load(self, uris: list[str], interval: int = 3, stop: int = 1_000, **config: t.Any) -> None:
        """Run, and keep what precedes one of its states."""
        paths = [f"{self.place.data}/{uri}" for uri in uris]
        with contextlib.suppress(BadFileError, MissingFileError):
            self.place.sync(state=self.state, uris=paths, state_interval_rows=interval, **config)
        run = self.place.last
        states = [at for at, message in enumerate(run.messages) if message["type"] == "STATE"]
        at = states[min(stop, len(states) - 1)]
        self.kept += Run(b"\n".join(run.lines[:at])).users
        self.state = run.messages[at]["value"]

    def new(self, count: int) -> list[str]:
        """Return lines that were never there."""
        self.count += count
        return [str(number) for number in range(self.count - count, self.count)]

    def write(self, name: str, stamp: int) -> None:
        """Write the file of a name."""
        rows = [BROKEN if line == BROKEN else event(int(line)) for line in self.lines[name]]
        path = self.place.write(name, *rows, end="\n" if rows and name in self.ended else "")
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
        os.utime(path, (stamp, stamp))


TestFiles = Files.TestCase
TestFiles.settings = settings(max_examples=60, stateful_step_count=20)
