"""Local files: walked in path order, from any path on; read up to the size they were listed with."""

from __future__ import annotations

import os
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_coolafile import reading
from tap_coolafile.exceptions import BadFileError, MissingFileError, StorageError
from tap_coolafile.sources.local import LocalSource
from tap_coolafile.uris import parse
from tests.tap.conftest import Workplace, event

if t.TYPE_CHECKING:
    from pathlib import Path


def paths(uri: str, after: str = "") -> list[str]:
    return [item.path for item in LocalSource(parse(uri)).files(after)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.json", "a/z.json", "a.json", "a/b/c.json", "a-b/x.json", "a/b.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_files_come_in_the_order_of_their_whole_paths(tree: Path) -> None:
    found = paths(f"{tree}/")
    assert found == sorted(found)
    assert len(found) == 6


def test_a_listing_goes_on_after_any_path(tree: Path) -> None:
    found = paths(f"{tree}/")
    for index, path in enumerate(found):
        assert paths(f"{tree}/", after=path) == found[index + 1 :]


def test_a_glob_lists_what_it_matches(tree: Path) -> None:
    assert paths(f"{tree}/a/*.json") == [f"{tree}/a/b.json", f"{tree}/a/z.json"]
    assert paths(f"{tree}/*/b/*.json") == [f"{tree}/a/b/c.json"]
    assert len(paths(f"{tree}/**/*.json")) == 6


def test_links_to_folders_are_followed_but_never_in_a_circle(tree: Path) -> None:
    (tree / "a" / "loop").symlink_to(tree)
    (tree / "other").symlink_to(tree / "a-b")
    found = paths(f"{tree}/")
    assert f"{tree}/other/x.json" in found
    assert len(found) == 7


def test_pipes_and_dead_links_are_no_files(tree: Path) -> None:
    os.mkfifo(tree / "pipe.json")
    (tree / "dead.json").symlink_to(tree / "nothing")
    assert len(paths(f"{tree}/")) == 6


def test_a_missing_file_is_told_and_a_missing_folder_is_empty(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        paths(f"{tmp_path}/none.json")
    assert paths(f"{tmp_path}/none/") == []


def test_a_file_is_read_up_to_the_size_it_was_listed_with(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"12345")
    source = LocalSource(parse(str(path)))
    (item,) = source.files("")
    with path.open("ab") as more:
        more.write(b"678")
    handle = source.open(item, 2)
    assert [handle.read(2), handle.read(9), handle.read(9)] == [b"34", b"5", b""]
    handle.close()


def test_a_file_that_shrinks_while_it_is_read_is_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"12345")
    source = LocalSource(parse(str(path)))
    (item,) = source.files("")
    path.write_bytes(b"1")
    handle = source.open(item, 0)
    assert handle.read(9) == b"1"
    with pytest.raises(BadFileError, match="became shorter"):
        handle.read(9)
    handle.close()


@pytest.mark.parametrize("again", [b"54321", b"x2345678", b"1234x678"])
def test_a_file_written_over_while_it_is_read_is_a_bad_file(tmp_path: Path, again: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"12345")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    source = LocalSource(parse(str(path)))
    (item,) = source.files("")
    handle = source.open(item, 0)
    assert [handle.read(3), handle.read(3)] == [b"123", b"45"]
    with path.open("r+b") as over:
        over.write(again)
    with pytest.raises(BadFileError, match="changed while it was read"):
        handle.read(3)
    handle.close()


def test_a_file_written_over_between_two_reads_is_read_anew_by_the_next_run(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.write("a.json", *map(event, range(900)))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    monkeypatch.setattr(reading, "BLOCK_BYTES", 4096)
    feed = reading.Head.feed

    def overwrite(head: reading.Head, data: bytes) -> None:
        feed(head, data)
        place.write("a.json", *map(event, range(100, 1000)))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(reading.Head, "feed", overwrite)
        with pytest.raises(BadFileError, match="1 bad file"):
            place.sync()
    assert place.last.users == []
    assert place.sync(state=place.last.state).users == [f"u{number}" for number in range(100, 1000)]


def test_a_file_that_vanished_is_a_bad_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.touch()
    source = LocalSource(parse(str(path)))
    (item,) = source.files("")
    path.unlink()
    with pytest.raises(BadFileError, match="vanished"):
        source.open(item, 0)


def test_an_unreadable_path_is_told_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        paths(f"{tmp_path}/file/a.json")


@given(st.sets(st.lists(st.sampled_from(["a", "a-", "b", "é"]), min_size=1, max_size=3).map("/".join), max_size=8))
def test_any_tree_is_listed_in_order_and_whole(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name in names:
        path = root / (name + ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert paths(f"{root}/") == sorted(f"{root}/{name}.json" for name in names)
