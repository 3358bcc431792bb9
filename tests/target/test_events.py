from __future__ import annotations

import json
import tracemalloc
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from singer_sdk.exceptions import MissingKeyPropertiesError

from target_cooladata.configuration import parse
from target_cooladata.events import MAX_EVENT_BYTES, REASONS, EventMaker, Facts
from target_cooladata.exceptions import Rejected
from target_cooladata.settings import StreamSettings
from target_cooladata.target import TargetCoolaData

SEED = 1_350_273_990_000


class Maker(EventMaker):
    """An event maker for a stream `orders`, with the facts it counts."""

    def __init__(self, settings: dict[str, t.Any] | None = None, **mapping: t.Any) -> None:
        self.facts = Facts()
        target = TargetCoolaData(config={"endpoint_url": "sandbox:x.db", **(settings or {})})
        super().__init__("orders", StreamSettings(**mapping), parse(target.config), self.facts)

    def event(self, record: object, extracted: str | None = None) -> t.Any:
        return json.loads(self.make(json.dumps(record).encode(), extracted))

    def reason(self, record: object) -> str:
        raw = record if isinstance(record, bytes) else json.dumps(record).encode()
        with pytest.raises(Rejected) as verdict:
            self.make(raw)
        assert verdict.value.reason in REASONS
        assert verdict.value.detail
        return verdict.value.reason


def ours(**properties: t.Any) -> dict[str, t.Any]:
    return {"event_name": "login", "user_id": "u", "event_time_ts": SEED, **properties}


def sent(**properties: t.Any) -> dict[str, t.Any]:
    return {"event_name": "login", "user_id": "u", "event_timestamp_epoch": SEED, **properties}


def test_a_record_of_our_tap_keeps_its_bytes_but_for_the_name_of_its_time() -> None:
    raw = (
        b'{ "event_name":"login","user_id":"u", "n":1E5,"m":-0.0,"big":1234567890123456789,'
        b'"s":"\\u00e9\\/","event_time_ts":1350273990000}'
    )
    expected = raw.replace(b"event_time_ts", b"event_timestamp_epoch")
    assert Maker().make(raw) == expected


def test_a_value_that_reads_like_the_name_of_the_time_is_left_alone() -> None:
    text = '"event_time_ts":'
    assert Maker().event(ours(note=text, other="event_time_ts")) == sent(note=text, other="event_time_ts")


def test_nulls_are_left_out_and_empty_texts_are_not() -> None:
    assert Maker().event(ours(a=None, b="")) == sent(b="")


@pytest.mark.parametrize(
    ("form", "yes", "no"), [("string", "true", "false"), ("integer", 1, 0), ("native", True, False)]
)
def test_booleans_take_the_form_of_the_setting(form: str, yes: object, no: object) -> None:
    assert Maker({"boolean_format": form}).event(ours(a=True, b=False)) == sent(a=yes, b=no)


def test_objects_are_flattened_and_arrays_become_text() -> None:
    record = ours(a={"b": {"c": 1, "d": None}, "e": [1, {"x": 2}]}, f=[])
    assert Maker().event(record) == sent(a_b_c=1, a_e='[1, {"x": 2}]', f="[]")


def test_nested_values_can_be_json_or_refused() -> None:
    assert Maker({"nested_values": "json"}).event(ours(a={"b": 1})) == sent(a='{"b": 1}')
    assert Maker({"nested_values": "reject"}).reason(ours(a={"b": 1})) == "nested_value"


def test_names_are_mended_or_refused() -> None:
    assert Maker().event(ours(**{"a.b": 1, "uid": 2})) == sent(a_b=1, uid_=2)
    assert Maker({"property_names": "reject"}).reason(ours(**{"a.b": 1})) == "bad_property_name"


def test_names_that_differ_in_case_alone_do_not_overwrite_each_other() -> None:
    assert Maker().event(ours(Id=1, id=2, ID=3)) == sent(Id=1, id_2=2, ID_3=3)
    assert Maker({"property_names": "reject"}).reason(ours(Id=1, id=2)) == "name_collision"


def test_a_name_that_needs_no_mending_never_gives_way_whatever_the_order() -> None:
    maker = Maker()
    first = maker.event(ours(**{"a.b": 1, "a_b": 2}))
    assert first["a_b"] == 2
    (mended,) = (name for name in first if name.startswith("a_b_"))
    assert first[mended] == 1
    assert maker.event(ours(a_b=3))["a_b"] == 3
    assert maker.event(ours(**{"a.b": 4}))[mended] == 4


def test_the_properties_of_scope_keep_their_prefix_and_configured_ones_get_it() -> None:
    maker = Maker(user_properties=("plan",), session_properties=("ip",))
    record = ours(**{"{u}city": "X", "plan": "gold", "ip": "192.0.2.1"})
    assert maker.event(record) == sent(**{"{u}city": "X", "{u}plan": "gold", "{s}ip": "192.0.2.1"})


def test_names_that_mean_something_to_cooladata_pass_as_they_are() -> None:
    known = {"session_ip": "192.0.2.1", "session_dua": "x", "session_id": "s", "user_alternative_id": "v"}
    assert Maker().event(ours(**known)) == sent(**known)
    assert Maker().event(ours(**known, a=None)) == sent(**known)


def test_a_foreign_record_becomes_an_event_by_its_mapping() -> None:
    maker = Maker(event_name="order", user_id_property="customer_id", event_time_property="created_at")
    record = {"id": 7, "customer_id": 42, "created_at": "2012-10-15T04:06:30Z", "total": 9.5}
    assert maker.event(record) == {
        "event_name": "order", "user_id": "42", "event_timestamp_epoch": SEED, "id": 7, "total": 9.5,
    }  # fmt: skip
    assert maker.facts.digits == 1


def test_the_event_name_is_that_of_the_record_or_of_the_stream() -> None:
    assert Maker().event(ours(event_name=None))["event_name"] == "orders"
    assert Maker().event(ours(event_name=7))["event_name"] == "7"
    assert Maker(event_name_property="kind").event(ours(kind="sale"))["event_name"] == "sale"
    assert Maker(event_name_property="kind", event_name="other").event(ours(kind=""))["event_name"] == "other"
    assert Maker(event_name_property="kind").reason(ours()) == "missing_event_name"


def test_an_empty_event_name_is_not_sent_in_the_place_of_one() -> None:
    maker = Maker()
    assert maker.event(ours(event_name="orders"))["event_name"] == "orders"
    assert maker.event(ours(event_name=""))["event_name"] == "orders"


def test_every_known_name_of_the_time_is_found_and_one_is_sent() -> None:
    assert Maker().event({"user_id": "u", "event_timestamp": "2012-10-15 04:06:30"})["event_timestamp_epoch"] == SEED
    maker = Maker()
    assert maker.event(ours(event_timestamp_epoch=SEED)) == sent()
    assert maker.facts.time_conflicts == 0
    assert maker.event(ours(event_timestamp_epoch=SEED + 1)) == sent()
    assert maker.facts.time_conflicts == 1


def test_an_empty_time_is_a_missing_time_whatever_came_before() -> None:
    maker = Maker({"event_time_fallback": "server"})
    assert maker.event(ours(event_time_ts="2012-10-15 04:06:30")) == sent()
    assert "event_timestamp_epoch" not in maker.event(ours(event_time_ts=""))


def test_a_record_without_a_time_is_refused_or_gets_another() -> None:
    record = {"event_name": "login", "user_id": "u"}
    assert Maker().reason(record) == "missing_time"
    assert Maker({"event_time_fallback": "server"}).event(record) == record
    extracted = Maker({"event_time_fallback": "extracted"}).event(record, "2012-10-15T04:06:30Z")
    assert extracted["event_timestamp_epoch"] == SEED


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"[]", "not_an_object"),
        (b'{"a":1', "not_json"),
        (b'{"a":"\xff"}', "not_json"),
        (b'{"user_id":"u","n":1e400}', "number_out_of_range"),
        (ours(user_id=None), "missing_user_id"),
        (ours(user_id=""), "missing_user_id"),
        (ours(user_id=1.5), "bad_user_id"),
        (ours(user_id=True), "bad_user_id"),
        (ours(event_name=[]), "bad_event_name"),
        (ours(event_time_ts=1_350_273_990), "time_in_seconds"),
        (ours(event_time_ts="soon"), "bad_time"),
        (ours(n=2**63), "number_out_of_range"),
        (ours(n=10**100), "number_out_of_range"),
        (ours(n={"m": 10**100}), "number_out_of_range"),
        (ours(s="x" * MAX_EVENT_BYTES), "event_too_large"),
    ],
    ids=lambda value: repr(value)[-40:],
)
def test_what_cannot_be_an_event_is_refused_with_its_reason(record: object, reason: str) -> None:
    assert Maker().reason(record) == reason


def test_however_deep_a_value_is_it_is_sent_or_refused() -> None:
    maker = Maker()
    reasons = set()
    for depth in (1, 100, *range(900, 1_000), 100_000):
        for begin, end in ((b'{"a":', b"}"), (b"[", b"]")):
            record = b'{"event_name":"e","user_id":"u","event_time_ts":%d,"n":' % SEED
            try:
                maker.make(record + begin * depth + b"1" + end * depth + b"}")
            except Rejected as verdict:
                reasons.add(verdict.reason)
    assert reasons == {"nested_too_deeply"}


def test_records_of_ever_other_shapes_cost_little_memory() -> None:
    names = [f"a_property_with_a_name_of_its_own_{number}" for number in range(400)]
    maker = Maker()
    tracemalloc.start()
    for number in range(3_000):
        shuffled = names[number % 400 :] + names[: number % 400]
        maker.event(ours(**dict.fromkeys(shuffled[: 200 + number // 400]), n=number))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30_000_000


def test_the_largest_integers_pass_unchanged() -> None:
    assert Maker().event(ours(a=2**63 - 1, b=-(2**63))) == sent(a=2**63 - 1, b=-(2**63))


def test_a_record_without_its_key_breaks_the_specification() -> None:
    maker = Maker()
    maker.set_key_properties(["id"])
    assert maker.event(ours(id=None)) == sent()
    with pytest.raises(MissingKeyPropertiesError, match="id"):
        maker.event(ours())


def test_events_outside_the_default_window_are_counted() -> None:
    maker = Maker()
    maker.event(ours())
    assert maker.facts.outside_window == 1


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=8))
def test_no_value_that_can_be_sent_is_lost_and_every_event_is_flat(properties: dict[str, t.Any]) -> None:
    record = properties | {"event_name": "e", "user_id": "u", "event_time_ts": SEED}
    event = Maker({"boolean_format": "native"}).event(record)
    for name in ("event_timestamp_epoch", "event_timestamp"):
        properties.pop(name, None)
    leaves = [
        leaf for key, value in properties.items()
        if not key.startswith("_sdc_") and key not in ("event_name", "user_id", "event_time_ts")
        for leaf in _leaves(value)
    ]  # fmt: skip
    assert len(event) == 3 + len(leaves)
    assert not any(isinstance(value, (dict, list)) or value is None for value in event.values())
    for name in ("event_name", "user_id", "event_timestamp_epoch"):
        del event[name]
    assert sorted(map(repr, event.values())) == sorted(map(repr, leaves))


def _leaves(value: t.Any) -> list[t.Any]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    return [json.dumps(value)] if isinstance(value, list) else [value]


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L"]), min_size=1),
        st.text() | st.integers(-(2**63), 2**63 - 1),
    )
)
def test_both_ways_to_write_an_event_say_the_same(properties: dict[str, t.Any]) -> None:
    """A null, which is left out, forces the way that rebuilds the event."""
    record = properties | {"event_name": "e", "user_id": "u", "event_time_ts": SEED}
    assert Maker().event(record) == Maker().event(record | {"zz0": None})
