"""The SDK's standard suite for targets, sending to a real sandbox: as it is, and with a mapping for its streams."""

from __future__ import annotations

import json
import tempfile
import typing as t
from pathlib import Path

import pytest
from singer_sdk.testing import get_target_test_class

from target_cooladata.target import TargetCoolaData
from tests.commands import run

_FOLDER = Path(tempfile.mkdtemp(prefix="target-suite-"))
_CONFIG: dict[str, t.Any] = {
    "endpoint_url": f"sandbox:{_FOLDER / 'sandbox.db'}",
    "rejects_path": str(_FOLDER / "rejects"),
}
_STREAMS = {
    "TestCamelcase": "Id",
    "example_stream": "id",
    "record_missing_fields": "id",
    "test:SpecialChars!in?attributes": "_id",
    "test_array_data": "id",
    "test_duplicate_records": "id",
    "test_no_pk": "id",
    "test_optional_attributes": "id",
    "test_schema_updates": "id",
    "test_strings": "id",
}

StandardSuite = get_target_test_class(TargetCoolaData, config=_CONFIG)
StandardSuiteMapped = get_target_test_class(
    TargetCoolaData,
    config=_CONFIG
    | {
        "event_time_fallback": "extracted",
        "streams": {stream: {"user_id_property": key} for stream, key in _STREAMS.items()},
    },
)


class TestStandardSuite(StandardSuite):  # type: ignore[misc, valid-type]  # made at run time
    """Its streams hold no events: every record is refused and kept."""


class TestStandardSuiteMapped(StandardSuiteMapped):  # type: ignore[misc, valid-type]  # made at run time
    """With a mapping, its records are delivered."""


def test_the_mapped_streams_were_delivered() -> None:
    """The suite itself looks at no events."""
    summary = json.loads(run("cooladata-sandbox", "summary", "--db", _FOLDER / "sandbox.db").stdout)
    assert summary["invalid_reasons"] == {}
    assert {name.lower() for name in summary["by_event_name"]} == {name.lower() for name in _STREAMS}


@pytest.fixture(autouse=True, scope="module")
def _clean() -> t.Iterator[None]:
    yield
    for path in sorted(_FOLDER.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    _FOLDER.rmdir()
