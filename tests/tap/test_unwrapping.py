"""Rejects read in again after repair."""

from __future__ import annotations

import base64
import json
import typing as t

from hypothesis import given
from hypothesis import strategies as st

from tap_coolafile.unwrapping import unwrapped
from tests.tap.conftest import Workplace, event

if t.TYPE_CHECKING:
    from pathlib import Path


def reject(**kept: t.Any) -> str:
    return json.dumps({"reason": "not_json", "detail": "", "line": 1, "offset": 0, "source": "s", **kept})


@given(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])))
def test_a_row_comes_out_as_it_went_in(row: str) -> None:
    assert unwrapped(reject(row=row).encode()) == row.encode()
    assert unwrapped(reject(row_base64=base64.b64encode(row.encode()).decode()).encode()) == row.encode()


def test_a_reject_of_the_target_holds_a_record() -> None:
    assert unwrapped(reject(record={"a": 1}).encode()) == b'{"a": 1}'


def test_what_is_no_reject_is_a_row_itself() -> None:
    for line in (event(1), "{broken", "", '{"reason":"r"}', '{"reason":"r","row":5}', reject(row_base64="?"), "[]"):
        assert unwrapped(line.encode()) == line.encode()


def test_repaired_rejects_are_loaded_and_what_is_still_broken_is_kept_as_a_row_again(place: Workplace) -> None:
    place.write("a.json", event(1), event(2)[:-1], b"\xff", event(3) + "}", '{"event_name":')
    assert place.sync().users == ["u1"]
    (path,) = (place.folder / "rejects").rglob("*.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["row"] += "}"
    lines[2]["row"] = lines[2]["row"][:-1].replace(",", ",\n")
    repaired = place.folder / "repaired"
    repaired.mkdir()
    (repaired / "a.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = place.sync(uris=f"{repaired}/", unwrap_rejects=True, rejects_path=str(place.folder / "again"))
    assert run.users == ["u2", "u3"]
    assert run.report["rows_rejected"] == 2
    (path,) = (place.folder / "again").rglob("*.json")
    again = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(entry.get("row_base64"), entry.get("row"), entry["line"]) for entry in again] == [
        ("/w==", None, 2),
        (None, '{"event_name":', 4),
    ]
    assert again[0]["source"] == f"file://{repaired}/a.json"


def test_a_rejects_file_can_be_read_where_it_lies(place: Workplace) -> None:
    place.write("a.json", event(1), event(2)[:-1])
    place.sync()
    (path,) = (place.folder / "rejects").rglob("*.json")
    path.write_text(path.read_text().replace(event(2)[:-1].replace('"', '\\"'), event(2).replace('"', '\\"')))
    assert place.sync(uris=f"{place.folder}/rejects/", unwrap_rejects=True).users == ["u2"]


def test_a_row_at_the_limit_of_length_fits_although_its_reject_is_longer(place: Workplace) -> None:
    row = event(1, text='"' * 400)
    place.write("a.json", reject(row=row), reject(row=event(2, text="x" * 900)))
    run = place.sync(unwrap_rejects=True, max_row_bytes=len(row))
    assert run.users == ["u1"]
    assert run.report["rejected_by_reason"] == {"too_long": 1}


def test_discovery_sees_the_rows_within_rejects(place: Workplace) -> None:
    row = event(1, inside=1, text='"' * 50)
    place.write("a.json", reject(row=row))
    found = json.loads(place.run("--discover", unwrap_rejects=True, max_row_bytes=len(row)).text)["streams"][0][
        "schema"
    ]["properties"]
    assert "inside" in found
    assert "row" not in found


def test_the_targets_rejects_are_loaded_too(place: Workplace, tmp_path: Path) -> None:
    path = tmp_path / "target.json"
    path.write_text(reject(record=json.loads(event(5)), status=None) + "\n")
    assert place.sync(uris=str(path), unwrap_rejects=True).users == ["u5"]
