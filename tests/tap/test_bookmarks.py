"""What state remembers of a listing: bounded, exact while it is small, by rule beyond that."""

from __future__ import annotations

import json
import typing as t

import pytest

from tap_coolafile.bookmarks import KEPT_ANYHOW, MAX_RECENT, Bookmark, Place, Position, load
from tap_coolafile.exceptions import StateError
from tap_coolafile.sources.base import FileItem

HOUR = 3_600_000
DAY = 24 * HOUR


def item(path: str, *, mtime_ms: int = 0, etag: str = "e1", size: int = 10) -> FileItem:
    return FileItem(f"file://{path}", path, size, mtime_ms, etag)


def end(file: FileItem) -> Position:
    return Position(file.path, file.etag, offset=file.size, line=1, rows=1, head="abcdef")


class Collection:
    """A listing that grows, passed over again and again with its state written to JSON in between."""

    def __init__(self, *, lookback_hours: int = 24, capacity: int = MAX_RECENT) -> None:
        self.files: dict[str, FileItem] = {}
        self.state: t.Any = {}
        self.shrunk = 0
        self._lookback_ms = lookback_hours * HOUR
        self._capacity = capacity

    def add(self, *files: FileItem) -> None:
        self.files |= {file.path: file for file in files}

    def run(self, now_ms: int, *, stop_after: int | None = None) -> list[str]:
        """Pass over the listing; return the paths read. Stop after so many, as a kill would."""
        place = load({"version": 1, "places": {"p": self.state}}, "").pop("p") if self.state else Place()
        mark = Bookmark(place, lookback_ms=self._lookback_ms, capacity=self._capacity)
        read: list[str] = []
        for path in sorted(self.files):
            if path <= mark.reached:
                continue
            mark.begin(now_ms)
            if mark.verdict(self.files[path]) != "done":
                if stop_after is not None and len(read) == stop_after:
                    break
                read.append(path)
                mark.finish(self.files[path], end(self.files[path]))
        else:
            mark.begin(now_ms)
            mark.end()
        self.shrunk += mark.shrunk
        self.state = json.loads(json.dumps(mark.to_builtins()))
        return read

    @property
    def size(self) -> int:
        return len(json.dumps(self.state))


def test_two_files_stamped_in_the_same_second_are_both_read() -> None:
    files = Collection()
    files.add(item("a", mtime_ms=1000))
    assert files.run(2000) == ["a"]
    files.add(item("b", mtime_ms=1000))
    assert files.run(3000) == ["b"]


def test_a_file_that_becomes_visible_late_with_an_older_stamp_is_read() -> None:
    files = Collection()
    files.add(item("b", mtime_ms=DAY))
    files.run(DAY)
    files.add(item("a", mtime_ms=DAY - HOUR))
    assert files.run(DAY + 1) == ["a"]


def test_a_small_collection_is_compared_one_by_one_for_ever() -> None:
    files = Collection()
    files.add(item("b", mtime_ms=1000 * DAY))
    files.run(1000 * DAY)
    files.add(item("a", mtime_ms=1))
    assert files.run(1001 * DAY) == ["a"]


def test_a_changed_file_is_told_and_where_it_was_read_to() -> None:
    files = Collection()
    files.add(item("a"))
    files.run(1)
    mark = Bookmark(load({"version": 1, "places": {"p": files.state}}, "")["p"], lookback_ms=DAY)
    changed = item("a", etag="e2")
    assert mark.verdict(changed) == "changed"
    assert mark.known(changed) == Position("a", "", offset=10, line=1, head="abcdef")


@pytest.mark.parametrize(("days", "a_day", "capacity"), [(365, 500, 1000), (8, 10_000, MAX_RECENT)])
def test_many_files_a_day_are_each_read_once_and_leave_the_state_bounded(days: int, a_day: int, capacity: int) -> None:
    # The year runs at a twentieth of ten thousand files a day, with a twentieth of the room for them.
    files, total = Collection(capacity=capacity), 0
    for day in range(1, days + 1):
        begin = day * DAY
        files.files = {path: file for path, file in files.files.items() if file.mtime_ms >= begin - 2 * DAY}
        files.add(*(item(f"{day:03}/{number:05}", mtime_ms=begin + number * DAY // a_day) for number in range(a_day)))
        total += len(files.run(begin + DAY))
        assert files.size < 50 * capacity
    assert total == days * a_day


def test_two_hundred_thousand_files_of_one_second_are_read_once_also_when_killed_in_the_middle() -> None:
    files = Collection()
    files.add(*(item(f"k{number:06}", mtime_ms=DAY) for number in range(200_000)))
    first = files.run(DAY, stop_after=120_000)
    assert files.size < 1_000_000
    second = files.run(DAY + 1)
    assert first + second == sorted(files.files)
    assert files.run(DAY + 2) == []
    assert files.size < 1_000_000
    assert files.shrunk > 0


def test_identities_older_than_the_window_are_forgotten_and_count_as_done() -> None:
    files = Collection()
    files.add(*(item(f"{number:05}", mtime_ms=number) for number in range(KEPT_ANYHOW + 500)))
    files.run(10 * DAY)
    assert len(files.state["recent"]) == KEPT_ANYHOW
    assert files.run(11 * DAY) == []
    files.add(item("late", mtime_ms=100))
    assert files.run(12 * DAY) == []
    files.add(item("later", mtime_ms=501))
    assert files.run(12 * DAY) == ["later"]


def test_the_window_shrinks_when_it_holds_too_many() -> None:
    files = Collection()
    files.add(*(item(f"{number:05}", mtime_ms=DAY + number) for number in range(MAX_RECENT + 50)))
    files.run(DAY)
    assert len(files.state["recent"]) == MAX_RECENT
    assert files.shrunk == 50
    assert files.run(DAY + 1) == []


def test_a_pending_file_is_tried_again_and_forgotten_when_it_vanished() -> None:
    mark = Bookmark(Place(), lookback_ms=DAY)
    mark.begin(1)
    mark.fail(item("a"), Position("a", "e1", offset=5))
    mark.finish(item("b"), end(item("b")))
    mark.end()
    state = mark.to_builtins()
    again = Bookmark(load({"version": 1, "places": {"p": state}}, "")["p"], lookback_ms=DAY)
    assert again.verdict(item("a")) == "retry"
    assert again.known(item("a")).offset == 5
    gone = Bookmark(load({"version": 1, "places": {"p": state}}, "")["p"], lookback_ms=DAY)
    gone.begin(2)
    gone.verdict(item("b"))
    gone.end()
    assert gone.pending == {}


def test_more_pending_files_than_state_can_name_stop_the_run() -> None:
    mark = Bookmark(Place(), lookback_ms=DAY)

    def fail_all() -> None:
        for number in range(10_000):
            mark.fail(item(f"{number}"), Position(f"{number}", "e"))

    with pytest.raises(StateError, match="cannot be loaded"):
        fail_all()


def test_the_state_of_another_shard_is_refused() -> None:
    state = {"version": 1, "shard": "1 of 4", "places": {}}
    assert load(state, "1 of 4") == {}
    for other in ("", "2 of 4", "1 of 5"):
        with pytest.raises(StateError, match="shard"):
            load(state, other)
