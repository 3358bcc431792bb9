from __future__ import annotations

import typing as t

import pytest

from target_cooladata.exceptions import Rejected
from tests.singer import event, record, schema
from tests.target.test_events import Maker, ours

if t.TYPE_CHECKING:
    from tests.target.conftest import RunTarget


def changes(*values: object, **settings: t.Any) -> list[str]:
    maker = Maker(settings)
    for value in values:
        maker.event(ours(n=value))
    return list(maker.facts.kinds.changes)


def test_a_property_whose_type_changes_is_reported_whatever_its_spelling() -> None:
    maker = Maker()
    for value in (1, 2.5, "x", "y"):
        maker.event(ours(n=value))
    maker.event(ours(N=3))
    assert list(maker.facts.kinds.changes) == ["n of login: integer, then number", "n of login: integer, then string"]


def test_a_whole_number_among_others_is_no_change() -> None:
    assert changes(2.5, 1) == []


@pytest.mark.parametrize(
    ("boolean_format", "text", "number"),
    [
        ("string", [], ["n of login: string, then integer"]),
        ("integer", ["n of login: integer, then string"], []),
        ("native", ["n of login: boolean, then string"], ["n of login: boolean, then integer"]),
    ],
)
def test_a_boolean_has_the_type_that_it_is_sent_with(boolean_format: str, text: list[str], number: list[str]) -> None:
    assert changes(True, "x", boolean_format=boolean_format) == text
    assert changes(True, 1, boolean_format=boolean_format) == number


def test_leaves_of_an_object_are_properties_of_their_own() -> None:
    assert changes({"a": 1, "b": {"c": "x"}}, {"a": 2, "b": {"c": 3}}, {"a": None}) == [
        "n_... of login: string, then integer"
    ]


def test_a_leaf_and_a_property_of_its_name_are_one() -> None:
    maker = Maker()
    maker.event(ours(n={"a": 1}))
    maker.event(ours(n_a="x"))
    assert list(maker.facts.kinds.changes) == ["n_a of login: integer, then string"]


def test_an_object_and_an_array_that_are_sent_as_text_are_text() -> None:
    assert changes({"a": 1}, [1], "x", nested_values="json") == []
    assert changes([1], "x") == []


def test_a_record_that_is_refused_fixes_no_type() -> None:
    maker = Maker()
    with pytest.raises(Rejected):
        maker.event({"event_name": "login", "event_time_ts": 1_350_273_990_000, "n": "x"})
    maker.event(ours(n=1))
    maker.event(ours(n=2))
    assert list(maker.facts.kinds.changes) == []


def test_the_report_and_the_log_name_the_changes(run_target: RunTarget) -> None:
    lines = [event(1, n={"a": 1}, b=True), event(2, n={"a": "x"}, b="no"), record(event_name="x", n={"a": [1]})]
    done = run_target(schema(), *lines)
    assert list(done.report["type_changes"]) == ["n_... of login: integer, then string"]
    assert "Property type changes, which makes events invalid in CoolaData: n_... of login" in done.stderr


def test_a_mended_name_and_a_property_of_that_name_are_one_in_either_order() -> None:
    maker = Maker()
    values: list[tuple[str, t.Any]] = [("a_b", 1), ("a.b", "x"), ("a_b", 5)]
    first, second, third = (maker.event(ours(**{name: value})) for name, value in values)
    assert (first["a_b"], third["a_b"]) == (1, 5)
    assert "a_b" not in second
    assert list(maker.facts.kinds.changes) == []
    other = Maker()
    assert [other.event(ours(**{name: value}))["a_b"] for name, value in (("a.b", "x"), ("a_b", 5))] == ["x", 5]
    assert list(other.facts.kinds.changes) == ["a_b of login: string, then integer"]
    assert other.facts.book.shared == {"a_b"}
