"""Files pending that one listing does not show: their rows are sent once, whatever became of them meanwhile."""

from __future__ import annotations

import gzip
import random
import typing as t

import pytest

from tests.tap.conftest import Workplace, event

if t.TYPE_CHECKING:
    from pathlib import Path

COUNT = 3_000


@pytest.fixture
def packed() -> bytes:
    """A compressed file of which half is read when half is cut off."""
    rng = random.Random(1)
    return gzip.compress("".join(event(n, noise=rng.randbytes(40).hex()) + "\n" for n in range(COUNT)).encode())


@pytest.fixture
def half(place: Workplace, packed: bytes) -> Path:
    """The first half of that file, another file beside it."""
    place.config["allow_compressed"] = True
    place.write("z.json", event(COUNT))
    path = place.data / "in/a.json.gz"
    path.parent.mkdir()
    path.write_bytes(packed[: len(packed) // 2])
    return path


def users(*runs: t.Any) -> list[str]:
    return sorted((user for run in runs for user in run.users), key=lambda user: int(user[1:]))


ALL = [f"u{n}" for n in range(COUNT + 1)]


def test_a_truncated_file_that_was_removed_and_came_back_whole_goes_on_where_it_was(
    place: Workplace, half: Path, packed: bytes
) -> None:
    first = place.run()
    half.unlink()
    second = place.run(state=first.state)
    assert (first.code, second.code) == (1, 0)
    assert second.report["missing_files"] == [str(half)]
    assert f"1 pending files are missing from the listing, first {half}: their positions are kept" in second.log
    half.write_bytes(packed)
    third = place.run(state=second.state)
    assert (third.code, third.report["files_missing"]) == (0, 0)
    assert users(first, second, third) == ALL


def test_a_file_whose_folder_was_away_for_a_run_goes_on_where_it_was(
    place: Workplace, half: Path, packed: bytes
) -> None:
    first = place.run()
    half.parent.rename(place.folder / "away")
    second = place.run(state=first.state)
    (place.folder / "away").rename(half.parent)
    half.write_bytes(packed)
    assert second.code == 0
    assert users(first, second, place.run(state=second.state)) == ALL


def test_a_file_that_the_name_rule_refused_for_a_run_goes_on_where_it_was(
    place: Workplace, half: Path, packed: bytes
) -> None:
    first = place.run()
    second = place.run(state=first.state, allow_compressed=False)
    half.write_bytes(packed)
    assert users(first, second, place.run(state=second.state)) == ALL


def test_a_file_away_for_longer_than_the_window_is_said_to_lose_its_position(place: Workplace) -> None:
    place.write("a.json", event(1))
    name = f"file://{place.data}/"
    pending = {"path": f"{place.data}/gone.json", "etag": "e", "offset": 5, "missing": 1}
    run = place.run(state={"bookmarks": {"events": {"places": {name: {"pending": [pending]}}}}})
    assert (run.code, run.report["positions_forgotten"], run.report["files_missing"]) == (0, 1, 0)
    assert "1 pending files were missing for longer than lookback_hours" in run.log
