"""The schema only ever widens, and says so once."""

from __future__ import annotations

import typing as t

import pytest

from tap_coolafile.schema import StreamSchema


def schema(**types: str) -> StreamSchema:
    return StreamSchema(property_types=types, metadata_columns=False)


def kinds(found: StreamSchema, name: str) -> t.Any:
    return found.to_dict()["properties"][name]["type"]


@pytest.mark.parametrize(
    ("kind", "declared"),
    [("string", "string"), ("integer", "number"), ("number", "number"), ("boolean", "boolean")],
)
def test_a_kind_is_declared_by_a_type_that_sql_targets_can_keep(kind: str, declared: str) -> None:
    found = schema()
    assert found.learn("a", kind) is None
    assert kinds(found, "a") == [declared, "null"]
    assert found.unannounced


def test_what_is_known_widens_nothing() -> None:
    found = schema(a="integer")
    found.learn("a", "integer")
    assert not found.unannounced


def test_a_change_of_type_widens_and_is_told() -> None:
    found = schema()
    found.learn("a", "number")
    words = found.learn("a", "string")
    assert words is not None
    assert "property_types" in words
    assert kinds(found, "a") == ["number", "string", "null"]
    assert found.changes == {"a": "number, string"}
    assert found.learn("a", "string") is None


def test_a_catalogs_schema_is_taken_over_and_the_mandatory_three_stay() -> None:
    found = schema()
    found.adopt({"properties": {"a": {"type": "string", "maxLength": 5}, "b": {}, "user_id": {"type": "number"}}})
    assert found.to_dict()["properties"]["a"] == {"type": "string", "maxLength": 5}
    assert kinds(found, "user_id") == ["string"]
    assert found.learn("b", "boolean") is None
    found.learn("a", "boolean")
    assert kinds(found, "a") == ["string", "boolean"]


def test_a_schema_handed_out_may_be_changed_freely() -> None:
    found = schema()
    found.to_dict()["properties"].clear()
    assert found.to_dict()["properties"].keys() == {"event_name", "user_id", "event_time_ts"}


def test_declared_types_stand_above_those_of_a_catalog_made_before() -> None:
    found = schema(a="string")
    found.adopt(found.retyped({"properties": {"a": {"type": ["number", "null"]}, "b": {"type": "number"}}}))
    assert (kinds(found, "a"), kinds(found, "b")) == (["string", "null"], "number")
    assert found.learn("a", "string") is None
