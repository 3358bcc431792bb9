"""What state remembers of a listing: bounded, exact while it is small, by rule beyond that."""

from __future__ import annotations

import json
import typing as t

import pytest

from tap_coolafile.bookmarks import KEPT_ANYHOW, Bookmark
from tap_coolafile.exceptions import StateError
from tap_coolafile.identities import WIDTH
from tap_coolafile.places import VERSION, Place, Position, load
from tap_coolafile.room import MAX_RECENT, Room
from tap_coolafile.sources.base import FileItem

HOUR = 3_600_000
DAY = 24 * HOUR


def item(path: str, *, mtime_ms: int = 0, etag: str = "e1", size: int = 10) -> FileItem:
    return FileItem(f"file://{path}", path, size, mtime_ms, etag)


def end(file: FileItem) -> Position:
    return Position(file.path, file.etag, offset=file.size, line=1, rows=1, head="abcdef")


class Collection:
    """A listing that grows, passed over again and again with its state written to JSON in between.

    A URI is the prefix of its files' paths.
    """

    def __init__(self, *, lookback_hours: int = 24) -> None:
        self.files: dict[str, FileItem] = {}
        self.state: t.Any = {"version": VERSION, "places": {}}
        self.largest = 0
        self.room = Room((), {}, lookback_ms=0)
        self._lookback_ms = lookback_hours * HOUR

    def add(self, *files: FileItem) -> None:
        self.files |= {file.path: file for file in files}

    def run(self, now_ms: int, *uris: str, stop_after: int | None = None, save_each: int = 10_000) -> list[str]:
        """Pass over the listing; return the paths read. Stop after so many, as a kill would."""
        uris = uris or ("",)
        self.room = Room(uris, load(self.state, ""), lookback_ms=self._lookback_ms)
        read: list[str] = []
        for uri in uris:
            mark = self.room.marks[uri]
            for path in sorted(path for path in self.files if path.startswith(uri) and path > mark.reached):
                mark.begin(now_ms)
                if mark.verdict(self.files[path]) != "done":
                    if len(read) == stop_after:
                        self.save()
                        return read
                    read.append(path)
                    mark.finish(self.files[path], end(self.files[path]))
                    if len(read) % save_each == 0:
                        self.save()
            mark.begin(now_ms)
            mark.end()
        self.save()
        return read

    def save(self) -> None:
        text = json.dumps({"version": VERSION, "places": self.room.to_builtins()})
        self.state = json.loads(text)
        self.largest = max(self.largest, len(text) + 100)
        assert self.remembered <= MAX_RECENT

    @property
    def remembered(self) -> int:
        places = self.state["places"].values()
        return sum(len(place.get(name, "")) for place in places for name in ("recent", "passed")) // WIDTH


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
    mark = Bookmark(load(files.state, "")[""], lookback_ms=DAY)
    changed = item("a", etag="e2")
    assert mark.verdict(changed) == "changed"
    assert mark.known(changed) == Position("a", "", offset=10, line=1, head="abcdef")


def test_ten_thousand_files_a_day_for_a_year_are_each_read_once_and_leave_the_state_bounded() -> None:
    # A lifecycle rule keeps a day and an hour. Of each day's files a hundred become visible a day late, and a hundred
    # are overwritten on the day after.
    files, late = Collection(), list[FileItem]()
    for day in range(16_000, 16_365):
        begin = day * DAY
        today = [item(f"{day}/{n:04}.json", mtime_ms=begin + n * DAY // 10_000, size=5_000_000) for n in range(10_000)]
        overwritten = [
            item(f"{day - 1}/{n:04}.json", mtime_ms=begin + HOUR, etag="e2", size=6_000_000)
            for n in range(9_600, 10_000, 4)
        ]
        files.files = {path: file for path, file in files.files.items() if path >= f"{day - 1}/96"}
        new = late + [file for file in today if not file.path.endswith("33.json")]
        new += [file for file in overwritten if file.path in files.files]
        late = [file for file in today if file.path.endswith("33.json")]
        files.add(*new)
        assert files.run(begin + DAY) == sorted(file.path for file in new)
        assert files.room.forgotten_early == 0
    assert files.largest < 1_000_000


def test_two_hundred_thousand_files_of_one_second_are_read_once_also_when_killed_in_the_middle() -> None:
    files = Collection()
    files.add(*(item(f"k{number:06}", mtime_ms=DAY) for number in range(200_000)))
    first = files.run(DAY, stop_after=120_000)
    second = files.run(DAY + 1)
    assert first + second == sorted(files.files)
    assert files.room.forgotten_early > 0
    assert files.run(DAY + 2) == []
    assert files.largest < 1_000_000


def test_identities_older_than_the_window_are_forgotten_and_count_as_done() -> None:
    files = Collection()
    files.add(*(item(f"{number:05}", mtime_ms=number) for number in range(KEPT_ANYHOW + 500)))
    files.run(10 * DAY)
    assert files.remembered == KEPT_ANYHOW
    assert files.run(11 * DAY) == []
    files.add(item("late", mtime_ms=100))
    assert files.run(12 * DAY) == []
    files.add(item("later", mtime_ms=501))
    assert files.run(12 * DAY) == ["later"]


def test_the_window_shrinks_when_it_holds_too_many() -> None:
    files = Collection()
    files.add(*(item(f"{number:05}", mtime_ms=DAY + number) for number in range(MAX_RECENT + 50)))
    files.run(DAY)
    assert files.remembered == MAX_RECENT
    assert files.room.forgotten_early == 50
    assert files.run(DAY + 1) == []


def test_what_is_forgotten_while_a_file_is_in_hand_is_not_read_again_after_a_kill() -> None:
    files = Collection()
    files.add(*(item(f"k{number:05}", mtime_ms=DAY + number) for number in range(MAX_RECENT)))
    files.run(2 * DAY)
    files.add(item("a", mtime_ms=2 * DAY))
    room = Room(("",), load(files.state, ""), lookback_ms=DAY)
    mark = room.marks[""]
    mark.verdict(files.files["a"])
    mark.begin(2 * DAY)
    mark.finish(files.files["a"], end(files.files["a"]))
    for number in range(MAX_RECENT):
        assert mark.verdict(files.files[f"k{number:05}"]) == "done"
    mark.at(Position("z", "e1", offset=5))  # the file in hand; what was met since "a" will be met again
    files.state = {"version": VERSION, "places": room.to_builtins()}
    assert files.remembered == MAX_RECENT
    files.add(item("z", mtime_ms=2 * DAY))
    assert files.run(2 * DAY + 1) == ["z"]


def test_a_pass_that_begins_anew_for_its_pending_files_reads_nothing_twice() -> None:
    files = Collection()
    files.add(*(item(f"k{number:05}", mtime_ms=DAY + number) for number in range(MAX_RECENT - 1)))
    files.add(item("x", mtime_ms=DAY))
    room = Room(("",), {}, lookback_ms=DAY)
    room.marks[""].begin(DAY)
    room.marks[""].fail(item("bad"), Position("bad", "e1"))
    for path in sorted(files.files):
        room.marks[""].finish(files.files[path], end(files.files[path]))
    files.state = {"version": VERSION, "places": room.to_builtins()}  # killed before the end of the pass
    files.add(item("a", mtime_ms=2 * DAY), item("b", mtime_ms=2 * DAY))
    assert files.run(2 * DAY, save_each=1) == ["a", "b"]


def test_a_pending_file_is_tried_again_and_keeps_its_position_while_it_is_away() -> None:
    mark = Bookmark(Place(), lookback_ms=DAY)
    mark.begin(1)
    mark.fail(item("a"), Position("a", "e1", offset=5))
    mark.finish(item("b"), end(item("b")))
    mark.end()
    state = mark.to_builtins()
    again = Bookmark(load({"version": 1, "places": {"p": state}}, "")["p"], lookback_ms=DAY)
    assert again.verdict(item("a")) == "retry"
    assert again.known(item("a")).offset == 5
    for now in (2, 3, DAY + 2):
        gone = marked(state)
        gone.begin(now)
        gone.verdict(item("b"))
        gone.end()
        assert [(position.path, position.missing) for position in gone.missing] == [("a", 2)]
        state = gone.to_builtins()
    back = marked(state)
    back.begin(DAY + 3)
    assert (back.verdict(item("a")), back.known(item("a"))) == ("retry", Position("a", "e1", offset=5))
    assert back.missing == []


def test_a_pending_file_that_is_away_for_longer_than_the_window_loses_its_position() -> None:
    mark = marked({"pending": [{"path": "a", "etag": "e1", "offset": 5}]})
    for now, forgotten in ((1, 0), (DAY + 1, 0), (DAY + 2, 1)):
        mark = marked(mark.to_builtins())
        mark.begin(now)
        mark.end()
        assert mark.pending_forgotten == forgotten
    assert mark.pending == {}


def test_a_file_in_hand_keeps_its_position_while_it_is_away_and_when_another_comes_before_it() -> None:
    state = {"pass_started": 1, "reached": "a", "file": {"path": "c", "etag": "e1", "offset": 5}}
    mark = marked(state)
    mark.end()
    assert mark.missing == [Position("c", "e1", offset=5, missing=1)]
    mark = marked(state)
    mark.verdict(item("b"))
    mark.finish(item("b"), end(item("b")))
    assert mark.verdict(item("c")) == "retry"
    assert mark.known(item("c")) == Position("c", "e1", offset=5)
    mark.at(Position("c", "e1", offset=7))
    assert marked(mark.to_builtins()).known(item("c")).offset == 7
    mark.finish(item("c"), end(item("c")))
    assert mark.pending == {}


def test_pending_files_that_are_away_give_way_to_others_those_away_longest_first() -> None:
    away = [{"path": f"{n:0200}", "etag": "e", "offset": 5, "missing": 1000 - n} for n in range(200)]
    room = Room(("p",), load({"version": VERSION, "places": {"p": {"pending": away}}}, ""), lookback_ms=DAY)
    mark = room.marks["p"]
    for number in range(200):
        mark.fail(item(f"x{number}"), Position(f"x{number}", "e"))
        room.check_pending()
    assert 0 < room.pending_forgotten < 200
    assert [position.missing for position in mark.missing] == list(range(1000, 800 + room.pending_forgotten, -1))


def marked(place: t.Any) -> Bookmark:
    return Bookmark(load({"version": VERSION, "places": {"p": place}}, "")["p"], lookback_ms=DAY)


def test_an_archived_file_is_new_once_it_is_restored_however_old_it_is_then() -> None:
    mark = marked({"done_before": 1000})
    mark.begin(1)
    old, young = item("old", mtime_ms=999), item("young", mtime_ms=1000)
    assert (mark.verdict(old), mark.verdict(young)) == ("done", "new")
    mark.put_off(young)
    mark.end()
    for _ in range(2):
        mark = marked(mark.to_builtins() | {"done_before": 5000})
        mark.begin(2)
        assert mark.verdict(young) == "new"
        mark.put_off(young)
        mark.end()
    mark.begin(3)
    mark.finish(young, end(young))
    mark.end()
    assert marked(mark.to_builtins()).verdict(young) == "done"
    assert "archived" not in mark.to_builtins() or not mark.to_builtins()["archived"]


def test_an_archived_file_that_vanished_is_forgotten() -> None:
    mark = marked({})
    mark.put_off(item("gone"))
    assert mark.archived == 1
    mark = marked(mark.to_builtins())
    mark.begin(1)
    mark.end()
    assert mark.archived == 0


def test_a_file_archived_in_the_middle_of_its_reading_goes_on_from_there_once_restored() -> None:
    mark = marked({})
    mark.begin(1)
    mark.at(Position("a", "e1", offset=5))
    mark.put_off(item("a"))
    mark.finish(item("b"), end(item("b")))
    mark.end()
    again = marked(mark.to_builtins())
    again.begin(2)
    assert again.verdict(item("a")) == "retry"
    again.put_off(item("a"))
    again.end()
    assert marked(again.to_builtins()).known(item("a")).offset == 5


def test_more_pending_files_than_state_can_name_stop_the_run() -> None:
    room = Room(("p", "q"), {}, lookback_ms=DAY)

    def fail_all() -> None:
        for number in range(1000):
            for mark in room.marks.values():
                mark.fail(item(f"é{number}"), Position(f"é{number}", "e"))
            room.check_pending()

    with pytest.raises(StateError, match="cannot be loaded"):
        fail_all()
    assert len(json.dumps(room.to_builtins())) < 150_000


def test_the_state_of_another_shard_is_refused() -> None:
    state = {"version": 1, "shard": "1 of 4", "places": {}}
    assert load(state, "1 of 4") == {}
    for other in ("", "2 of 4", "1 of 5"):
        with pytest.raises(StateError, match="shard"):
            load(state, other)
