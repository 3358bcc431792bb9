from __future__ import annotations

import json
import typing as t

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.exceptions import Rejected
from target_cooladata.forms import MAX_COLUMNS, Form
from tests.target.test_events import SEED, Maker


def learned(**columns: t.Any) -> Form:
    form = Form()
    form.learn(columns, columns)
    return form


def knows(form: Form, **more: t.Any) -> bool:
    assert form.decode is not None
    record = {"event_name": "e", "user_id": "u", "event_time_ts": SEED} | more
    try:
        form.decode(json.dumps({name: value for name, value in record.items() if value is not ...}).encode())
    except msgspec.MsgspecError:
        return False
    return True


def test_what_was_seen_is_known_with_all_or_some_of_its_columns() -> None:
    form = learned(a="x", n=1, f=1.5)
    assert knows(form, a="y", n=2, f=2)
    assert knows(form, n=2)
    assert knows(form)


@pytest.mark.parametrize(
    "more",
    [
        {"b": 1}, {"a": 1}, {"a": None}, {"n": True}, {"n": 1.5}, {"n": 2**63}, {"f": 2**63}, {"a": []}, {"a": {}},
        {"event_name": ""}, {"event_name": 1}, {"user_id": ""}, {"user_id": ...}, {"event_time_ts": ...},
        {"event_time_ts": str(SEED)}, {"event_time_ts": SEED // 1000}, {"event_timestamp": SEED},
    ],
    ids=str,
)  # fmt: skip
def test_what_differs_in_any_way_is_for_the_long_way(more: dict[str, t.Any]) -> None:
    assert not knows(learned(a="x", n=1, f=1.5), **more)


def test_a_column_of_integers_becomes_one_of_numbers_but_never_one_of_text() -> None:
    form = learned(n=1)
    form.learn(["n"], {"n": 1.5})
    assert knows(form, n=1)
    assert knows(form, n=1.5)
    form.learn(["n"], {"n": "x"})
    assert not knows(form, n="x")


def test_two_spellings_of_one_name_are_never_known_together() -> None:
    form = learned(Id=1)
    form.learn(["id"], {"id": 1})
    assert knows(form, Id=1)
    assert not knows(form, id=1)
    assert not knows(form, Id=1, id=1)


def test_two_scopes_of_one_name_are_never_known_together() -> None:
    form = learned(**{"{u}city": "X"})
    form.learn(["city"], {"city": "Y"})
    assert knows(form, **{"{u}city": "X"})
    assert not knows(form, **{"{u}city": "X", "city": "Y"})


def test_a_stream_with_names_that_are_values_costs_no_memory() -> None:
    form = Form()
    for number in range(2 * MAX_COLUMNS):
        form.learn([f"c{number}"], {f"c{number}": 1})
    assert knows(form, c1=1)
    assert not knows(form, **{f"c{2 * MAX_COLUMNS - 1}": 1})
    assert all(len(kept) <= MAX_COLUMNS for kept in vars(form).values() if isinstance(kept, dict))


VALUES = st.one_of(
    st.text(max_size=5), st.integers(-(2**64), 2**64), st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
    st.none(), st.just([1]), st.just({"a": 1}),
)  # fmt: skip
NAMES = st.sampled_from(
    ["a", "A", "{u}a", "b", "uid", "a.b", "event_name", "user_id", "event_time_ts", "event_timestamp"]
)
RECORDS = st.dictionaries(NAMES, VALUES).map(
    lambda record: {"event_name": "e", "user_id": "u", "event_time_ts": SEED} | record
)


@given(st.lists(RECORDS, max_size=8))
def test_both_ways_give_the_same_event_or_the_same_reason(records: list[dict[str, t.Any]]) -> None:
    quick, slow = Maker(), Maker()
    slow._form.learn = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001 - the long way alone, to compare with
    for record in records:
        assert outcome(quick, record) == outcome(slow, record)
    assert quick.facts.outside_window == slow.facts.outside_window
    assert set(quick.facts.kinds.changes) == set(slow.facts.kinds.changes)


def outcome(maker: Maker, record: dict[str, t.Any]) -> t.Any:
    try:
        return maker.event(record)
    except Rejected as verdict:
        return verdict.reason
