"""Which files a run reads: by stamp, by shard, once each however many URIs match, and what becomes of changed ones."""

from __future__ import annotations

import gzip
import os
import typing as t

import msgspec
import pytest

from tap_coolafile.bookmarks import KEPT_ANYHOW
from tap_coolafile.exceptions import BadFileError, SettingError, StateError
from tap_coolafile.selection import Shard
from tap_coolafile.sources.local import LocalSource
from tap_coolafile.uris import Pattern, parse
from tests.tap.conftest import Workplace, event

if t.TYPE_CHECKING:
    from tests.object_server import ObjectServer


def test_a_file_matched_by_several_uris_is_read_once(place: Workplace) -> None:
    path = place.write("in/a.json", event(1))
    place.write("in/b.json", event(2))
    uris = [str(path), f"{place.data}/in/", f"{place.data}/**/*.json", f"file://{place.data}/in/"]
    assert place.sync(uris=uris).users == ["u1", "u2"]


@pytest.mark.parametrize("scheme", ["file", "s3", "gs", "azure", "sftp", "one-yet-to-come"])
def test_no_scheme_needs_to_be_known_for_a_file_to_be_read_once(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    place.write("a.json", event(1))
    folder = parse(f"{place.data}/")
    prefix = msgspec.structs.replace(folder, scheme=scheme, name="prefix")
    path = f"{folder.path}*.json"
    glob = Pattern(scheme, "glob", prefix.place, path, prefix.path, "glob", "glob")
    monkeypatch.setattr("tap_coolafile.uris.parse", lambda uri: glob if uri == "glob" else prefix)
    monkeypatch.setattr("tap_coolafile.run.open_source", lambda pattern, *_: LocalSource(pattern))
    assert place.sync(uris=["prefix", "glob"]).users == ["u1"]


def test_files_older_than_the_start_date_are_left(place: Workplace) -> None:
    old, new = place.write("a.json", event(1)), place.write("b.json", event(2))
    os.utime(old, (1_000_000_000, 1_000_000_000))
    os.utime(new, (1_700_000_000, 1_700_000_000))
    run = place.sync(start_date="2020-01-01T00:00:00Z")
    assert run.users == ["u2"]
    assert run.report["files_before_start_date"] == 1


def test_shards_share_the_files_without_gap_or_overlap(place: Workplace) -> None:
    for number in range(40):
        place.write(f"{number}.json", event(number))
    shares = [place.sync(shard_count=3, shard_index=index) for index in range(3)]
    assert sorted(user for run in shares for user in run.users) == sorted(f"u{number}" for number in range(40))
    assert all(run.users for run in shares)  # how many each has depends on the folder's name
    with pytest.raises(StateError, match="shard"):
        place.sync(shard_count=4, shard_index=0, state=shares[0].state)
    assert place.sync(shard_count=3, shard_index=0, state=shares[0].state).users == []


def test_shards_are_of_like_size() -> None:
    sizes = [
        sum(Shard(3, index).owns(f"s3://events/2026/{number}.json") for number in range(3_000)) for index in range(3)
    ]
    assert sum(sizes) == 3_000
    assert min(sizes) > 900


def test_a_shard_is_the_same_on_every_machine() -> None:
    assert [name for name in "abcdefgh" if Shard(2, 0).owns(name)] == ["a", "b", "c", "e", "f"]


@pytest.mark.parametrize("variable", ["JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"])
def test_the_shard_is_taken_from_kubernetes_or_aws_batch(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    place.write("a.json", event())
    monkeypatch.setenv(variable, "1")
    assert place.sync(shard_count=2).state["bookmarks"]["events"]["shard"] == "1 of 2"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shard_index": 0}, "without shard_count"),
        ({"shard_count": 2}, "neither shard_index"),
        ({"shard_count": 2, "shard_index": 2}, "too large"),
    ],
)
def test_half_a_shard_is_refused(place: Workplace, given: dict[str, int], words: str) -> None:
    place.write("a.json", event())
    with pytest.raises(SettingError, match=words):
        place.sync(**given)


def test_a_changed_file_that_was_forgotten_counts_as_new(place: Workplace) -> None:
    for number in range(KEPT_ANYHOW + 1):
        path = place.write(f"{number:04}.json", event(number))
        os.utime(path, (1_500_000_000 + number, 1_500_000_000 + number))
    first = place.sync()
    assert first.report["files_new"] == KEPT_ANYHOW + 1
    place.write("0000.json", event(-1), event(-2))
    place.write("0001.json", event(1), event(-3))
    second = place.sync(state=first.state)
    assert second.users == ["u-1", "u-2", "u-3"]
    assert (second.report["files_new"], second.report["files_changed"]) == (1, 1)


class TestAChangedFile:
    """What `on_changed_file` makes of a file that changed after it was read."""

    @staticmethod
    def changed(place: Workplace, *rows: str, end: str = "\n", before_end: str = "\n", **config: t.Any) -> list[str]:
        place.write("a.json", *(event(n) for n in range(3)), end=before_end)
        state = place.sync().state
        place.write("a.json", *rows, end=end)
        return place.sync(state=state, **config).users

    def test_what_was_appended_is_read(self, place: Workplace) -> None:
        rows = [event(n) for n in range(5)]
        assert self.changed(place, *rows) == ["u3", "u4"]

    def test_appended_rows_keep_their_line_numbers(self, place: Workplace) -> None:
        self.changed(place, *(event(n) for n in range(4)), "{broken")
        assert [reject["line"] for reject in place.rejects()] == [5]

    def test_a_rewritten_file_is_a_bad_file_whose_message_names_reload(self, place: Workplace) -> None:
        with pytest.raises(BadFileError, match="1 bad file"):
            self.changed(place, *(event(n) for n in range(10, 15)))
        assert place.last.report["bad_files"] == [f"file://{place.data}/a.json"]

    def test_a_file_that_became_shorter_is_a_bad_file(self, place: Workplace) -> None:
        with pytest.raises(BadFileError):
            self.changed(place, event(0))

    def test_a_file_whose_last_line_grew_is_a_bad_file(self, place: Workplace) -> None:
        with pytest.raises(BadFileError):
            self.changed(place, event(0), event(1), event(2) + " ", before_end="")

    @pytest.mark.parametrize("feed", ["\n", "\r\n"])
    def test_a_last_line_may_get_its_line_feed_with_what_is_appended(self, place: Workplace, feed: str) -> None:
        path = place.write("a.json", event(0), event(1), end="")
        state = place.sync().state
        for more, users, line in ((feed + event(2), ["u2"], 4), (feed + event(4) + feed, ["u4"], 6)):
            with path.open("a", newline="") as file:
                file.write(f"{more}{'' if more.endswith(feed) else feed}{{broken")
            run = place.sync(state=state)
            assert (run.users, run.report["rows_blank"]) == (users, 0)
            assert max(reject["line"] for reject in place.rejects()) == line
            state = run.state

    def test_a_line_feed_that_comes_later_is_no_row(self, place: Workplace) -> None:
        assert self.changed(place, *(event(n) for n in range(3)), before_end="") == []
        assert place.last.report["rows_read"] == 0
        place.write("a.json", *(event(n) for n in range(4)))
        assert place.sync(state=place.last.state).users == ["u3"]

    def test_a_compressed_last_line_may_get_its_line_feed_too(self, place: Workplace) -> None:
        (place.data / "a.json.gz").write_bytes(gzip.compress(event(0).encode()))
        state = place.sync(allow_compressed=True).state
        for count, users in ((2, ["u1"]), (3, ["u2"])):
            (place.data / "a.json.gz").write_bytes(gzip.compress("\n".join(map(event, range(count))).encode()))
            run = place.sync(allow_compressed=True, state=state)
            assert run.users == users
            state = run.state

    def test_reload_reads_all_of_it(self, place: Workplace) -> None:
        assert self.changed(place, event(7), event(8), on_changed_file="reload") == ["u7", "u8"]

    def test_skip_leaves_it(self, place: Workplace) -> None:
        assert self.changed(place, event(7), on_changed_file="skip") == []

    def test_fail_stops_the_run(self, place: Workplace) -> None:
        with pytest.raises(BadFileError, match="on_changed_file is fail"):
            self.changed(place, event(7), on_changed_file="fail")

    @pytest.mark.parametrize("end", ["\n", ""])
    def test_a_touched_file_with_the_same_bytes_is_not_read_again(self, place: Workplace, end: str) -> None:
        path = place.write("a.json", *(event(n) for n in range(3)), end=end)
        state = place.sync().state
        os.utime(path, (1_000_000_000, 1_000_000_000))
        run = place.sync(state=state)
        assert (run.users, run.report["files_changed"]) == ([], 1)
        place.write("a.json", *(event(n) for n in range(4)))
        assert place.sync(state=run.state).users == ["u3"]


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(412, "PreconditionFailed", 1), (404, "NoSuchKey", 1), (403, "InvalidObjectState", 0)],
)
def test_a_changed_file_that_changes_again_vanishes_or_is_archived_when_it_is_compared_does_not_hold_up_the_others(
    place: Workplace, objects: ObjectServer, status: int, code: str, exit_code: int
) -> None:
    bucket = objects.put("compared", {"a.json": event(1).encode() + b"\n"})
    config = {"uris": f"s3://{bucket}/", **objects.settings()}
    state = place.run(**config).state
    objects.put(bucket, {"a.json": f"{event(1)}\n{event(2)}\n".encode(), "b.json": event(3).encode()})
    objects.behave({"on": "a.json", "status": status, "code": code, "times": 99})
    run = place.run(state=state, **config)
    assert (run.code, run.users) == (exit_code, ["u3"]), run.log
    assert run.report["files_bad" if exit_code else "files_archived"] == 1
    objects.behave()
    assert place.run(state=run.state, **config).users == ["u2"]
