"""Each file is read once, however `uris` names it from run to run; storages are told apart."""

from __future__ import annotations

import json
import typing as t

import pytest

from tap_coolafile.bookmarks import KEPT_ANYHOW
from tap_coolafile.exceptions import BadFileError
from tap_coolafile.places import VERSION, load
from tap_coolafile.room import Room
from tests.tap.conftest import Workplace, event
from tests.tap.test_bookmarks import DAY, end, item

if t.TYPE_CHECKING:
    from tests.s3_server import S3Server


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["", "a/"], ["a/", ""]),
        (["a/", ""], ["", "a/"]),
        (["a/", "b/"], [""]),
        (["a/", "b/"], ["*/*.json"]),
        (["*/*.json"], ["a/1.json", "**/*.json"]),
        ([""], ["a/", "b/"]),
    ],
)
def test_no_file_is_read_again_when_uris_are_reordered_widened_narrowed_or_respelled(
    place: Workplace, before: list[str], after: list[str]
) -> None:
    for number, name in enumerate(("a/1", "a/2", "b/1")):
        place.write(f"{name}.json", event(number))
    first, then = ([f"{place.data}/{part}" for part in uris] for uris in (before, after))
    run = place.sync(uris=first)
    assert sorted(run.users) == ["u0", "u1", "u2"]
    again = place.sync(uris=then, state=run.state)
    assert (again.users, again.report["files_unchanged"]) == ([], 3)
    place.write("a/3.json", event(3))
    assert place.sync(uris=then, state=again.state).users == ["u3"]
    assert place.sync(uris=first, state=again.state).users == ["u3"]


def test_a_file_pending_or_grown_goes_on_where_another_uri_left_it(place: Workplace) -> None:
    place.write("a/1.json", event(1))
    place.write("a/2.json", *(event(n) for n in range(1_000, 3_000)), *["bad"] * 1_500)
    narrow = [f"{place.data}/a/"]
    with pytest.raises(BadFileError):
        place.sync(uris=narrow, state_interval_rows=500)
    assert len(place.last.users) >= 2_000
    state = place.last.state
    place.write("a/1.json", event(1), event(2))
    with pytest.raises(BadFileError):
        place.sync(state=state)
    assert place.last.users == ["u2"]
    places = place.last.state["bookmarks"]["events"]["places"]
    assert [len(kept.get("pending", [])) for kept in places] == [0, 1]


def test_what_a_prefix_forgot_as_too_old_counts_as_done_for_others_too() -> None:
    narrow, wide = "s3://bucket/a/", "s3://bucket/"
    room = Room((narrow,), {}, lookback_ms=DAY)
    mark = room.marks[narrow]
    mark.begin(9 * DAY)
    files = [item(f"a/{n:05}", mtime_ms=n) for n in range(KEPT_ANYHOW + 500)]
    for file in files:
        mark.finish(file, end(file))
    mark.end()
    places = load(json.loads(json.dumps({"version": VERSION, "places": room.to_builtins()})), "")
    mark = Room((wide,), places, lookback_ms=DAY).marks[wide]
    assert {mark.verdict(file) for file in files} == {"done"}
    assert mark.remembered == KEPT_ANYHOW
    assert mark.verdict(item("b/1", mtime_ms=1)) == "new"
    assert mark.verdict(item("a/late", mtime_ms=500)) == "new"


def test_a_file_archived_under_one_uri_is_new_under_another_however_old() -> None:
    state = {"s3://bucket/a/": {"done_before": 1000, "archived": ""}}
    places = load({"version": VERSION, "places": state}, "")
    room = Room(("s3://bucket/a/",), places, lookback_ms=DAY)
    room.marks["s3://bucket/a/"].put_off(item("a/1", mtime_ms=5))
    places = load({"version": VERSION, "places": room.to_builtins()}, "")
    room = Room(("s3://bucket/",), places, lookback_ms=DAY)
    mark = room.marks["s3://bucket/"]
    assert (mark.foresee(item("a/1", mtime_ms=5)), mark.foresee(item("a/2", mtime_ms=5))) == ("new", "done")
    assert mark.verdict(item("a/1", mtime_ms=5)) == "new"
    assert mark.archived == 1


def test_what_was_taken_over_is_known_to_the_place_it_came_from_in_the_same_run() -> None:
    names = ("gs://bucket/", "gs://bucket/a/")
    room = Room(names[1:], {}, lookback_ms=DAY)
    file = item("a/1", mtime_ms=1)
    room.marks[names[1]].begin(1)
    room.marks[names[1]].finish(file, end(file))
    room.marks[names[1]].end()
    places = load({"version": VERSION, "places": room.to_builtins()}, "")
    room = Room(names, places, lookback_ms=DAY)
    for name in (*names, *names):
        assert room.marks[name].verdict(file) == "done"
    assert [mark.remembered for mark in room.marks.values()] == [0, 1]


def test_the_same_path_in_another_storage_is_another_file() -> None:
    names = ["s3://one/", "s3://two/", "gs://one/", "https://host/x.json", "https://host/x.json?0123"]
    for name in names:
        room = Room((name,), {}, lookback_ms=DAY)
        room.marks[name].begin(1)
        room.marks[name].finish(item("x.json"), end(item("x.json")))
        room.marks[name].end()
        places = load({"version": VERSION, "places": room.to_builtins()}, "")
        room = Room(names, places, lookback_ms=DAY)
        assert [known for known, mark in room.marks.items() if mark.verdict(item("x.json")) == "done"] == [name]


def test_objects_in_a_bucket_are_not_read_again_when_uris_are_reordered(place: Workplace, s3: S3Server) -> None:
    s3.bucket("reordered", {"in/a b.json": event(1).encode(), "in/b+%20é.json": event(2).encode()})
    uris = ["s3://reordered/in/", "s3://reordered/**/*.json", "s3://reordered/in/a b.json"]
    settings = {"aws_endpoint_url": s3.endpoint_url, **s3.admin.settings()}
    run = place.sync(uris=uris, **settings)
    assert run.users == ["u1", "u2"]
    for order in (uris[::-1], uris[1:], uris[:1]):
        run = place.sync(uris=order, state=run.state, **settings)
        assert run.users == []


def test_a_full_table_run_reads_what_other_uris_read(place: Workplace) -> None:
    place.write("a/1.json", event(1))
    state = place.sync(uris=f"{place.data}/a/").state
    catalog: dict[str, t.Any] = json.loads(place.run("--discover").text)
    catalog["streams"][0]["replication_method"] = "FULL_TABLE"
    assert place.sync(state=state, catalog=catalog).users == ["u1"]


def test_a_file_in_hand_goes_on_under_another_uri_and_files_its_pass_forgot_count_as_done() -> None:
    state = {
        "s3://bucket/a/": {
            "pass_started": 9,
            "reached": "a/3",
            "forget_before": 8,
            "file": {"path": "a/4", "etag": "e1", "offset": 5},
        }
    }
    room = Room(("s3://bucket/",), load({"version": VERSION, "places": state}, ""), lookback_ms=DAY)
    mark = room.marks["s3://bucket/"]
    paths = ("a/1", "a/2", "a/4", "a/5")
    assert [mark.verdict(item(path, mtime_ms=7)) for path in paths] == ["done", "done", "retry", "new"]
    assert mark.known(item("a/4")).offset == 5
    assert "file" not in room.to_builtins()["s3://bucket/a/"]
