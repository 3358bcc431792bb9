"""How much state may hold of all URIs together: in go the places that state brought, out come places that fit.

At most 20,000 identities and less than 1 MB. Where that is not enough, the URIs that are configured no longer shrink
first, the one left longest ago before the others: first to their watermark (whatever is as old as their newest
identity counts as done), then, where it is bytes that lack, they are forgotten wholly. Then the URI that holds most
shrinks. What is forgotten is counted.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import time
import typing as t

from tap_coolafile.bookmarks import MAX_ARCHIVED, Bookmark
from tap_coolafile.exceptions import StateError
from tap_coolafile.identities import WIDTH
from tap_coolafile.memory import connect
from tap_coolafile.places import Place, dump

if t.TYPE_CHECKING:
    from tap_coolafile.report import Report

MAX_RECENT = 20_000
MAX_BYTES = 990_000
"""Of the places; the message around them has the rest of 1 MB."""
_MAX_PENDING_BYTES = 100_000
_MAX_NAMES_BYTES = 500_000


class Room:
    """The places of one run: `marks`, of the URIs configured, and those of earlier ones."""

    def __init__(
        self, names: t.Sequence[str], places: t.Mapping[str, Place], *, lookback_ms: int, anew: bool = False
    ) -> None:
        """Take over what state holds; `anew` reads also what is known of other URIs.

        Raises:
            StateError: the URIs are so many that their names leave no room for anything else.
        """
        if len(json.dumps(names)) + 200 * len(names) > _MAX_NAMES_BYTES:
            msg = f"uris names {len(names)} entries, more than one state can keep; share them among several taps"
            raise StateError(msg)
        self.marks = {name: Bookmark(places.get(name, Place()), lookback_ms=lookback_ms) for name in names}
        former = {
            name: Bookmark(place, lookback_ms=lookback_ms) for name, place in places.items() if name not in self.marks
        }
        now_ms = time.time_ns() // 1_000_000
        for mark in self.marks.values():
            mark.leave(0)
        for mark in former.values():
            mark.leave(mark.left or now_ms)
        ordered = sorted(former.items(), key=lambda pair: pair[1].left)
        self._former = {name: mark for name, mark in ordered if not mark.is_empty}
        if not anew:
            known = [*self.marks.items(), *reversed(self._former.items())]
            for name, storage in connect(known).items():
                (self.marks.get(name) or self._former[name]).storage = storage
        self.forgotten_uris: list[str] = []
        self._forgotten_of_former = 0

    @property
    def forgotten_early(self) -> int:
        """How many identities inside the window were forgotten, of the URIs configured."""
        return sum(mark.forgotten_early for mark in self.marks.values())

    @property
    def forgotten_of_former(self) -> int:
        """How many identities were forgotten, of URIs configured no longer."""
        return self._forgotten_of_former + sum(mark.forgotten for mark in self._former.values())

    @property
    def archived_forgotten(self) -> int:
        """How many files that lie in an archive state cannot name."""
        return sum(mark.archived_forgotten for mark in (*self._former.values(), *self.marks.values()))

    @property
    def missing(self) -> list[str]:
        """The paths of the files pending that listings do not show."""
        return [position.path for mark in self.marks.values() for position in mark.missing]

    @property
    def pending_forgotten(self) -> int:
        """How many files pending, which listings do not show, lost their positions."""
        return sum(mark.pending_forgotten for mark in self.marks.values())

    def check_pending(self) -> None:
        """Look whether state can name all files pending; those that listings do not show give way.

        Raises:
            StateError: it cannot.
        """
        self._forget_missing(sum(mark.pending_bytes for mark in self.marks.values()) - _MAX_PENDING_BYTES)
        if sum(mark.pending_bytes for mark in self.marks.values()) > _MAX_PENDING_BYTES:
            count = sum(len(mark.pending) for mark in self.marks.values())
            msg = f"{count} files cannot be loaded, more than state can keep; narrow uris"
            raise StateError(msg)

    def to_builtins(self) -> dict[str, t.Any]:
        """Return the places as state holds them, after forgetting what does not fit."""
        marks = (*self._former.values(), *self.marks.values())
        surplus = sum(mark.remembered for mark in marks) - MAX_RECENT
        if surplus > 0:
            self._forget(surplus - self._forget_of_former(surplus))
        self._forget_archived(sum(mark.archived for mark in marks) - MAX_ARCHIVED)
        self._forget_missing(sum(mark.pending_bytes for mark in marks) - _MAX_PENDING_BYTES)
        while True:
            places = {name: mark.to_builtins() for name, mark in (self._former | self.marks).items()}
            excess = len(json.dumps(dump(places))) - MAX_BYTES
            if excess <= 0 or not self._shrink(excess, places):
                return places

    def account(self, report: Report) -> None:
        """Put into the report what state could not keep, and what it keeps of files that no listing shows."""
        report.files_archived_forgotten = self.archived_forgotten
        missing = self.missing
        report.files_missing, report.missing_files = len(missing), missing[:100]
        report.positions_forgotten = self.pending_forgotten
        report.identities_forgotten_early = self.forgotten_early
        shrunk = ((name, mark.done_before) for name, mark in self.marks.items() if mark.forgotten_early)
        report.done_before = {name: _as_time(stamp) for name, stamp in itertools.islice(shrunk, 100)}
        report.identities_forgotten_of_former_uris = self.forgotten_of_former
        report.former_uris_forgotten = len(self.forgotten_uris)
        report.first_uris_forgotten = self.forgotten_uris[:100]

    def _shrink(self, excess: int, places: t.Mapping[str, t.Any]) -> bool:
        """Forget about so many bytes, or a part of them; tell whether there was anything to forget."""
        count = excess // WIDTH + 1
        if self._forget_of_former(count):
            return True
        if not self._former:
            return self._forget(count) > 0
        while self._former and excess > 0:
            name = next(iter(self._former))
            self._forgotten_of_former += self._former.pop(name).forgotten
            self.forgotten_uris.append(name)
            excess -= len(json.dumps({name: places[name]}))
        return True

    def _forget_of_former(self, count: int) -> int:
        """Forget identities of URIs configured no longer, at most `count`; say how many."""
        forgotten = 0
        for mark in self._former.values():
            forgotten += mark.forget(count - forgotten)
        return forgotten

    def _forget(self, count: int) -> int:
        """Forget identities of the URIs that hold most, at most `count`; say how many."""
        forgotten, marks = 0, list(self.marks.values())
        while forgotten < count:
            marks.sort(key=lambda mark: mark.remembered, reverse=True)
            if not marks or not marks[0].remembered:
                break
            left = count - forgotten
            ahead = marks[0].remembered - (marks[1].remembered if marks[1:] else 0)
            forgotten += marks[0].forget(min(left, max(ahead, left // len(marks), 1)))
        return forgotten

    def _forget_missing(self, size: int) -> None:
        """Forget the positions of files that listings do not show, those away longest first, as much as `size`."""
        if size <= 0:
            return
        marks = (*self._former.values(), *self.marks.values())
        away = [(position.missing, position.path, mark) for mark in marks for position in mark.missing]
        for _, path, mark in sorted(away, key=lambda one: one[:2]):
            if size <= 0:
                return
            size -= mark.forget_missing(path)

    def _forget_archived(self, count: int) -> None:
        """Forget files that lie in an archive, of the URIs configured no longer, then of those that hold most."""
        configured = sorted(self.marks.values(), key=lambda mark: mark.archived, reverse=True)
        for mark in (*self._former.values(), *configured):
            count -= mark.forget_archived(count)


def _as_time(stamp_ms: int) -> str:
    return dt.datetime.fromtimestamp(stamp_ms / 1000, tz=dt.UTC).isoformat(timespec="milliseconds")
