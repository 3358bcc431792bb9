"""What state holds of all URIs together: bounded, whatever URIs come and go; those that went give way first."""

from __future__ import annotations

import json
import typing as t

import pytest

from tap_coolafile.exceptions import StateError
from tap_coolafile.identities import WIDTH
from tap_coolafile.places import VERSION, load
from tap_coolafile.room import MAX_RECENT, Room
from tests.tap.conftest import Workplace, event
from tests.tap.test_bookmarks import DAY, HOUR, Collection, item

FIRST_DAY = 16_000


def day_of(files: Collection, day: int, count: int, *, long: int = 0) -> str:
    """Add a day's files under a prefix of their own; return it."""
    uri = f"s3://bucket/{'é' * long}/{day}/"
    files.add(*(item(f"{uri}{'x' * long}{n:05}.json", mtime_ms=day * DAY + n, size=9_000_000) for n in range(count)))
    return uri


def known(files: Collection, *uris: str) -> list[int]:
    """Say how many files of each URI the state knows one by one."""
    return [len(files.state["places"][uri]["recent"]) // WIDTH for uri in uris]


@pytest.mark.parametrize("long", [0, 150])
def test_three_thousand_dated_prefixes_over_time_leave_the_state_bounded_and_the_last_ones_whole(long: int) -> None:
    files, uris = Collection(), list[str]()
    for day in range(FIRST_DAY, FIRST_DAY + 3_000, 30):
        files.files.clear()
        uris = [day_of(files, day + n, 30, long=long) for n in range(30)]
        assert files.run((day + 30) * DAY, *uris) == sorted(files.files)
        assert files.room.forgotten_early == 0
    assert files.largest < 1_000_000
    assert len(files.state["places"]) > (400 if long else 1_500)
    assert files.run((day + 31) * DAY, *uris) == []


def test_uris_configured_no_longer_shrink_first_and_what_they_lose_is_counted() -> None:
    files = Collection()
    first, second, third = (day_of(files, FIRST_DAY + n, 9_000) for n in range(3))
    for uri in (first, second):
        files.run((FIRST_DAY + 1) * DAY, uri)
    files.run((FIRST_DAY + 3) * DAY, third)
    assert files.remembered == MAX_RECENT
    assert (files.room.forgotten_early, files.room.forgotten_of_former) == (0, 7_000)
    assert files.room.forgotten_uris == []
    assert known(files, first, second, third) == [2_000, 9_000, 9_000]


def test_a_uri_that_comes_back_is_read_from_its_watermark_on_although_its_identities_were_forgotten() -> None:
    files = Collection()
    left, big = day_of(files, FIRST_DAY, 300), day_of(files, FIRST_DAY + 1, MAX_RECENT)
    assert len(files.run((FIRST_DAY + 1) * DAY, left)) == 300
    files.run((FIRST_DAY + 2) * DAY, big)
    assert files.room.forgotten_of_former == 300
    files.add(item(f"{left}older.json", mtime_ms=FIRST_DAY * DAY + 5))
    files.add(item(f"{left}newer.json", mtime_ms=FIRST_DAY * DAY + 300))
    assert files.run((FIRST_DAY + 3) * DAY, left) == [f"{left}newer.json"]


def test_a_uri_that_comes_back_in_time_is_compared_one_by_one() -> None:
    files = Collection()
    left, other = day_of(files, FIRST_DAY, 300), day_of(files, FIRST_DAY + 1, 300)
    files.run((FIRST_DAY + 1) * DAY, left)
    files.run((FIRST_DAY + 2) * DAY, other)
    files.add(item(f"{left}late.json", mtime_ms=1))
    assert files.run((FIRST_DAY + 3) * DAY, left, other) == [f"{left}late.json"]
    assert "left" not in files.state["places"][left]


def test_a_pass_that_was_interrupted_goes_on_when_its_uri_comes_back_also_after_it_shrank() -> None:
    files = Collection()
    left, big = day_of(files, FIRST_DAY, 3_000), day_of(files, FIRST_DAY + 1, MAX_RECENT)
    read = files.run((FIRST_DAY + 1) * DAY, left, stop_after=1_000)
    files.run((FIRST_DAY + 2) * DAY, big)
    assert files.room.forgotten_of_former == 1_000
    again = files.run((FIRST_DAY + 3) * DAY, left)
    assert read + again == sorted(path for path in files.files if path.startswith(left))


def test_a_uri_forgotten_wholly_is_named_and_read_anew_when_it_comes_back() -> None:
    files = Collection()
    first = day_of(files, FIRST_DAY, 1, long=1_000)
    files.run((FIRST_DAY + 1) * DAY, first)
    for day in range(FIRST_DAY + 1, FIRST_DAY + 1_000):
        files.run((day + 1) * DAY, day_of(files, day, 1, long=1_000))
        if files.room.forgotten_uris:
            break
    assert files.room.forgotten_uris == [first]
    assert len(files.run((day + 2) * DAY, first)) == 1
    assert files.largest < 1_000_000


def test_a_uri_of_which_nothing_was_read_leaves_nothing_in_the_state() -> None:
    files = Collection()
    files.run(DAY, "nothing/here/")
    files.add(item("a"))
    files.run(DAY, "a")
    assert list(files.state["places"]) == ["a"]


def test_of_the_uris_configured_the_one_that_holds_most_shrinks() -> None:
    files = Collection(lookback_hours=100 * 24)
    uris = [day_of(files, FIRST_DAY + n, count) for n, count in enumerate((500, 2_500, 30_000))]
    files.run((FIRST_DAY + 5) * DAY, *uris, save_each=1_000)
    assert known(files, *uris) == [500, 2_500, MAX_RECENT - 3_000]
    assert files.room.forgotten_early == 13_000
    assert files.run((FIRST_DAY + 6) * DAY, *uris) == []


def test_files_of_keys_in_any_order_leave_a_window_when_more_come_than_it_holds() -> None:
    files = Collection(lookback_hours=48)
    for day in (FIRST_DAY, FIRST_DAY + 1):
        files.add(*(item(f"{n * 7919 % 15_000:05}-{day}", mtime_ms=day * DAY + n * 5_000) for n in range(15_000)))
        assert len(files.run((day + 1) * DAY, save_each=1_000)) == 15_000
    late = item("late", mtime_ms=(FIRST_DAY + 1) * DAY + 12 * HOUR)
    files.add(late)
    assert files.run((FIRST_DAY + 2) * DAY + HOUR) == ["late"]


def grown(first: str, then: str) -> tuple[Collection, int]:
    """Return a full window, stamped 3 to 20 hours ago, to which 4,000 files are added, and the present time."""
    files, now = Collection(lookback_hours=48), FIRST_DAY * DAY
    files.add(*(item(f"{first}{n:05}", mtime_ms=now - 20 * HOUR + n * 3_000) for n in range(MAX_RECENT)))
    assert len(files.run(now - HOUR)) == MAX_RECENT
    files.add(*(item(f"{then}{n:05}", mtime_ms=now - HOUR // 6) for n in range(4_000)))
    return files, now


@pytest.mark.parametrize(("first", "then"), [("z/", "a/"), ("a/", "z/")])
@pytest.mark.parametrize("killed_after", [None, 1_500])
def test_the_oldest_stamps_are_forgotten_whether_new_keys_come_first_or_last(
    first: str, then: str, killed_after: int | None
) -> None:
    files, now = grown(first, then)
    read = files.run(now, stop_after=killed_after, save_each=100)
    if killed_after is not None:
        read += files.run(now, save_each=100)
    assert read == [path for path in sorted(files.files) if path.startswith(then)]
    mark = files.room.marks[""]
    assert mark.done_before == now - 20 * HOUR + 3_999 * 3_000 + 1
    late = [item(f"{key}late", mtime_ms=now - HOUR) for key in ("0", first, "m/", then)]
    files.add(*late, item("n/older", mtime_ms=mark.done_before), item("n/too-old", mtime_ms=mark.done_before - 1))
    assert files.run(now + 1) == sorted([*(file.path for file in late), "n/older"])


def test_files_pending_and_long_keys_in_hand_leave_the_state_bounded() -> None:
    files = Collection()
    day_of(files, FIRST_DAY, MAX_RECENT)
    files.run((FIRST_DAY + 1) * DAY)
    places = load(files.state, "")
    room = Room(["", *(f"s3://bucket/{'é' * 100}/{n}/" for n in range(400))], places, lookback_ms=DAY)
    assert len(json.dumps({"bookmarks": {"events": {"places": room.to_builtins()}}})) < 1_000_000
    assert room.forgotten_early > 0


def test_archived_files_of_all_uris_share_one_room_in_which_former_ones_give_way() -> None:
    places: dict[str, t.Any] = {}
    forgotten = 0
    for uri, count in (("left", 3_000), ("kept", 4_000)):
        room = Room([uri], load({"version": VERSION, "places": places}, ""), lookback_ms=DAY)
        for n in range(count):
            room.marks[uri].put_off(item(f"{uri}{n}"))
        places, forgotten = room.to_builtins(), room.archived_forgotten
    assert [len(places[uri]["archived"]) // 10 for uri in ("left", "kept")] == [1_000, 4_000]
    assert forgotten == 2_000


def test_more_uris_than_one_state_can_keep_are_refused_in_words(place: Workplace) -> None:
    with pytest.raises(StateError, match="share them among several taps"):
        place.sync(uris=[f"s3://bucket/{'x' * 1_000}{n}/" for n in range(500)])


def test_what_was_forgotten_is_said_in_log_and_report(place: Workplace) -> None:
    place.write("a.json", event(1))
    files = Collection()
    former = day_of(files, FIRST_DAY, MAX_RECENT)
    files.run((FIRST_DAY + 1) * DAY, former)
    run = place.run(state={"bookmarks": {"events": files.state}})
    assert (run.code, run.users) == (0, ["u1"])
    assert run.report["identities_forgotten_of_former_uris"] == 1
    assert "no room for 1 files of URIs that uris names no longer" in run.log
    long = {f"s3://bucket/{'x' * 1_000}/{n}/": {"done_before": n + 1} for n in range(1_000)}
    wholly = place.run(state={"bookmarks": {"events": {"version": VERSION, "places": long}}})
    count = wholly.report["former_uris_forgotten"]
    assert f"no room for {count} URIs that uris names no longer, first {next(iter(long))}:" in wholly.log
    assert len(wholly.lines[-1]) < 1_000_000
    assert len(wholly.state["bookmarks"]["events"]["places"]) == 1_001 - count


def test_a_window_that_shrank_is_said_in_log_and_report(place: Workplace) -> None:
    path = place.write("a.json", event(1))
    files, uri = Collection(), str(path.parent) + "/"
    files.add(*(item(f"{uri}{n:05}.json", mtime_ms=FIRST_DAY * DAY + n) for n in range(MAX_RECENT)))
    files.run((FIRST_DAY + 1) * DAY, uri)
    files.state["places"] = {f"file://{name}": kept for name, kept in files.state["places"].items()}
    run = place.run(state={"bookmarks": {"events": files.state}}, lookback_hours=1_000_000)
    assert (run.code, run.users) == (0, ["u1"])
    assert run.report["identities_forgotten_early"] == 1
    assert run.report["done_before"] == {f"file://{uri}": "2013-10-22T00:00:00.001+00:00"}
    assert "State has no room for 1 files of the last lookback_hours: from now on files stamped before 2013-" in run.log
    assert f" of file://{uri} count as done" in run.log


def test_a_full_table_run_keeps_what_is_known_of_other_uris(place: Workplace) -> None:
    place.write("a.json", event(1))
    other = place.write("../other.json", event(2))
    state = place.sync(uris=str(other)).state
    catalog = place.run("--discover").text
    entry: dict[str, t.Any] = json.loads(catalog)
    entry["streams"][0]["replication_method"] = "FULL_TABLE"
    full = place.sync(state=state, catalog=entry)
    assert full.users == ["u1"]
    assert place.sync(state=full.state, uris=str(other)).users == []


def test_a_state_of_the_first_version_goes_on(place: Workplace) -> None:
    place.write("a.json", event(1))
    place.write("b.json", event(2))
    state = place.sync().state
    (kept,) = state["bookmarks"]["events"]["places"]
    room = Room(["p"], load({"version": VERSION, "places": {"p": kept}}, ""), lookback_ms=DAY)
    assert room.marks["p"].remembered == 2
    kept["recent"] = [
        f"-{key}{done.etag}{done.head}{done.mtime_ms:x}.{done.size:x}.{done.lines:x}"
        for key, done in room.marks["p"]._recent.items()  # noqa: SLF001 - the old form needs each part
    ]
    state["bookmarks"]["events"] = {"version": 1, "places": {kept.pop("uri"): kept}}
    place.write("a.json", event(1), event(3))
    place.write("c.json", event(4))
    later = place.sync(state=state)
    assert later.users == ["u3", "u4"]
    assert later.state["bookmarks"]["events"]["version"] == VERSION


def test_a_state_of_the_second_version_goes_on_also_in_the_middle_of_a_file(place: Workplace) -> None:
    place.write("a.json", event(1))
    place.write("b.json", event(2), event(3))
    states = [message["value"] for message in place.sync(state_interval_rows=1).of("STATE")]
    for state, left in ((states[2], ["u3"]), (states[-1], [])):
        (kept,) = state["bookmarks"]["events"]["places"]
        assert kept.get("file", {}).get("line") == (1 if left else None)
        state["bookmarks"]["events"] = {"version": 2, "places": {kept.pop("uri"): kept}}
        later = place.sync(state=state)
        assert later.users == left
        assert later.state["bookmarks"]["events"]["version"] == VERSION
