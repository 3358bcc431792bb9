"""What README says of rows, line by line."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import msgspec
import pytest

from tap_coolafile.rows import REASONS, Judge, Rules
from tap_coolafile.schema import StreamSchema

README = (Path(__file__).parents[2] / "tap-coolafile" / "README.md").read_text(encoding="utf-8")
EVENT = '"event_name":"e","user_id":"u","event_time_ts":1425920218354'
LINES = re.findall(r"^\| `(.*)` \| `?(\w+)`? \| (?:`(.*)`)? ?\| (?:`(\w+)`)? ?\|$", README, re.MULTILINE)


def exact(text: str | bytes) -> dict[str, t.Any]:
    return {name: bytes(raw) for name, raw in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items()}


def test_the_table_is_found() -> None:
    assert len(LINES) > 30


@pytest.mark.parametrize(
    ("row", "verdict", "emitted", "declared"),
    [pytest.param(*line, id=str(number)) for number, line in enumerate(LINES)],
)
def test_a_row_becomes_what_the_table_says(row: str, verdict: str, emitted: str, declared: str) -> None:
    schema = StreamSchema(property_types={}, metadata_columns=False)
    judged = Judge(Rules(), schema.learn).judge([row.replace("…", EVENT).encode()])
    if verdict == "blank":
        assert judged.blank == 1
    elif verdict == "event":
        assert judged.records[0] is not None
        assert exact(judged.records[0]) == exact(emitted.replace("…", EVENT))
        custom = [name for name in schema.names if name not in {"event_name", "user_id", "event_time_ts"}]
        assert [schema.to_dict()["properties"][name]["type"][0] for name in custom] == ([declared] if declared else [])
    else:
        assert [reject.reason for reject in judged.rejects] == [verdict]


def test_every_reason_is_named() -> None:
    for reason in REASONS:
        assert f"`{reason}`" in README
