"""Messages of a run: the schema widens in time, a catalog is obeyed, and both ways of writing say the same."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from meltano.core.utils import merge

from tap_coolafile.exceptions import BadFileError, StateError
from tap_coolafile.tap import TapCoolaFile
from tests.tap.conftest import SEED_ROWS, Run, Workplace, event

IDENTITY_MAP = {"events": {"__filter__": "True"}}


def catalog_of(place: Workplace, **config: t.Any) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(TapCoolaFile(config=place.config | config).catalog_json_text)
    return found


def deselect(catalog: dict[str, t.Any], name: str) -> None:
    for entry in catalog["streams"][0]["metadata"]:
        if entry["breadcrumb"] == ["properties", name]:
            entry["metadata"]["selected"] = False


def types_before_each_record(run: Run) -> list[tuple[dict[str, t.Any], dict[str, t.Any]]]:
    """Pair each record with the properties of the SCHEMA in force."""
    pairs, current = [], {}
    for message in run.messages:
        if message["type"] == "SCHEMA":
            current = message["schema"]["properties"]
        elif message["type"] == "RECORD":
            pairs.append((message["record"], current))
    return pairs


def test_a_schema_that_knows_every_property_precedes_each_record(place: Workplace) -> None:
    rows = [event(n, **{f"p{n // 1000}": n}) for n in range(5000)]
    place.write("a.json", *rows)
    run = place.sync(state_interval_rows=500)
    assert len(run.records) == 5000
    for record, properties in types_before_each_record(run):
        assert record.keys() <= properties.keys()
    assert len(run.of("SCHEMA")) == 5


def test_the_same_properties_need_one_schema_alone(place: Workplace) -> None:
    place.write("a.json", *(event(n, a=n, b="x") for n in range(3000)))
    place.write("b.json", *(event(n, b="y", a=1) for n in range(3000)))
    assert len(place.sync(state_interval_rows=100).of("SCHEMA")) == 1


def test_every_number_is_a_number_so_that_one_and_a_half_follows_one(place: Workplace) -> None:
    place.write("a.json", event(1, n=1), event(2, n=1.5))
    run = place.sync()
    assert run.properties["n"]["type"] == ["number", "null"]
    assert len(run.of("SCHEMA")) == 1


def test_mandatory_properties_are_never_null_and_not_required(place: Workplace) -> None:
    place.write("a.json", event())
    run = place.sync()
    assert [run.properties[name]["type"] for name in ("event_name", "user_id", "event_time_ts")] == [
        ["string"],
        ["string"],
        ["integer"],
    ]
    assert run.of("SCHEMA")[0]["key_properties"] == []
    assert "required" not in run.of("SCHEMA")[0]["schema"]


def test_a_type_that_changes_is_announced_warned_of_once_and_reported(place: Workplace) -> None:
    place.write("a.json", event(1, qty=1), event(2, qty="one"), event(3, qty="two"))
    run = place.run()
    assert run.properties["qty"]["type"] == ["number", "string", "null"]
    assert run.report["type_changes"] == {"qty": "number, string"}
    assert run.log.count("changed its type") == 1
    assert "property_types" in run.log


def test_property_types_keep_one_type(place: Workplace) -> None:
    place.write("a.json", event(1, qty=1), event(2, qty="one"))
    run = place.sync(property_types={"qty": "string"})
    assert [record["qty"] for record in run.records] == ["1", "one"]
    assert run.properties["qty"]["type"] == ["string", "null"]


def test_a_property_new_since_the_catalog_was_made_still_arrives(place: Workplace) -> None:
    place.write("a.json", event(1, old=1))
    catalog = catalog_of(place)
    place.write("b.json", event(2, old=2, new="x"))
    run = place.sync(catalog=catalog)
    assert run.records[1]["new"] == "x"
    assert "new" in run.properties


def test_a_catalog_alone_brings_its_schema_before_any_row(place: Workplace) -> None:
    place.write("a.json", event(1, old=1))
    run = place.sync(catalog=catalog_of(place))
    assert [message["type"] for message in run.messages[:2]] == ["STATE", "SCHEMA"]
    assert "old" in run.of("SCHEMA")[0]["schema"]["properties"]


def test_a_type_that_the_catalog_declares_stands(place: Workplace) -> None:
    place.write("a.json", event(1, n=1))
    catalog = catalog_of(place)
    catalog["streams"][0]["schema"]["properties"]["n"] = {"type": ["integer", "null"]}
    assert place.sync(catalog=catalog).properties["n"] == {"type": ["integer", "null"]}


def test_property_types_mend_a_type_that_an_older_catalog_has(place: Workplace) -> None:
    place.write("a.json", event(1, n=1))
    catalog = catalog_of(place)
    place.write("a.json", event(1, n=1), event(2, n="x"))
    run = place.sync(catalog=catalog, property_types={"n": "string"})
    assert [record["n"] for record in run.records] == ["1", "x"]
    assert [message["schema"]["properties"]["n"]["type"] for message in run.of("SCHEMA")] == [["string", "null"]]
    assert run.report["type_changes"] == {}


def test_a_deselected_property_is_left_out_and_unknown_ones_are_withheld_counted_and_named_once(
    place: Workplace,
) -> None:
    place.write("a.json", event(1, keep=1, drop=2))
    catalog = catalog_of(place)
    deselect(catalog, "drop")
    place.write("b.json", event(2, keep=1, drop=2, later=3), event(3, later=4))
    run = place.run(catalog=catalog)
    assert all("drop" not in record and "later" not in record for record in run.records)
    assert [record.get("keep") for record in run.records] == [1, 1, None]
    assert "drop" not in run.properties
    assert "later" not in run.properties
    assert run.report["properties_withheld"] == ["later"]
    assert run.report["values_withheld"] == 2
    assert run.log.count("'later' is withheld") == 1


def test_a_deselected_stream_writes_no_records(place: Workplace) -> None:
    place.write("a.json", event(1))
    catalog = catalog_of(place)
    catalog["streams"][0]["metadata"][0]["metadata"]["selected"] = False
    catalog["streams"][0]["metadata"] = [
        entry | {"metadata": entry["metadata"] | {"selected": False}} if entry["breadcrumb"] == [] else entry
        for entry in catalog["streams"][0]["metadata"]
    ]
    run = place.sync(catalog=catalog)
    assert run.records == []
    assert run.of("SCHEMA") == []


def test_stream_maps_apply_and_a_filtered_row_is_counted(place: Workplace) -> None:
    place.write("a.json", event(1, n=1), event(2, n=2), "{broken")
    run = place.sync(stream_maps={"events": {"__filter__": "n > 1", "double": "n * 2"}})
    assert [record["double"] for record in run.records] == [4]
    report = run.report
    assert (report["rows_read"], report["rows_sent"], report["rows_filtered"], report["rows_rejected"]) == (3, 1, 1, 1)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"stream_maps": IDENTITY_MAP},
        {"flattening_enabled": True, "flattening_max_depth": 1},
        {"add_metadata_columns": True},
    ],
)
def test_the_schema_widens_once_for_each_property_and_type_whichever_way_rows_take(
    place: Workplace, config: dict[str, t.Any]
) -> None:
    place.write("a.json", *(event(n, **{f"p{n // 1000}": n if n < 3500 else "x"}) for n in range(4000)))
    run = place.sync(state_interval_rows=250, **config)
    for record, properties in types_before_each_record(run):
        assert record.keys() <= properties.keys()
        assert record.get("p3") != "x" or "string" in properties["p3"]["type"]
    assert len(run.records) == 4000
    assert len(run.of("SCHEMA")) == 5
    assert run.report["type_changes"] == {"p3": "number, string"}


def test_flattening_takes_the_way_of_the_sdk_and_changes_nothing_in_flat_rows(place: Workplace) -> None:
    place.write("a.json", *SEED_ROWS)
    assert place.sync(flattening_enabled=True, flattening_max_depth=2).records == place.sync().records


def test_metadata_columns_name_file_line_and_stamp(place: Workplace) -> None:
    path = place.write("a.json", event(1), "", event(2, _sdc_source_file="mine"), SEED_ROWS[0])
    run = place.sync(add_metadata_columns=True)
    assert [record["_sdc_source_lineno"] for record in run.records] == [1, 3, 4]
    assert {record["_sdc_source_file"] for record in run.records} == {f"file://{path}"}
    assert run.records[0]["_sdc_source_file_mtime"].endswith("Z")
    assert run.properties["_sdc_source_lineno"]["type"] == ["integer", "null"]
    assert run.report["metadata_replaced"] == 1


def test_the_stream_has_the_name_of_the_settings(place: Workplace) -> None:
    place.write("a.json", event())
    tap = TapCoolaFile(config=place.config | {"stream_name": 'my "stream"'})
    assert list(tap.streams) == ['my "stream"']


def test_a_state_of_another_version_is_refused_in_words(place: Workplace) -> None:
    with pytest.raises(StateError, match="state has version 7"):
        place.sync(state={"bookmarks": {"events": {"version": 7}}})


def test_a_damaged_state_is_refused_in_words(place: Workplace) -> None:
    place.write("a.json", event())
    state = copy.deepcopy(place.sync().state)
    state["bookmarks"]["events"]["places"][0]["recent"] = ["nonsense"]
    with pytest.raises(StateError, match="state is damaged"):
        place.sync(state=state)


def test_state_holds_strings_and_integers_only(place: Workplace) -> None:
    place.write("a.json", *(event(n) for n in range(20)), "{broken")
    for state in place.sync(state_interval_rows=3).of("STATE"):
        assert only_strings_and_integers(state["value"])


def only_strings_and_integers(value: t.Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and only_strings_and_integers(held) for key, held in value.items())
    if isinstance(value, list):
        return all(only_strings_and_integers(held) for held in value)
    return isinstance(value, str) or type(value) is int


def test_any_state_of_a_run_resumes_it_without_a_row_missing_or_repeated(place: Workplace) -> None:
    place.write("a.json", *(event(n) for n in range(25)), "{broken", "")
    place.write("b.json", *(event(n) for n in range(25, 50)), end="")
    whole = place.sync(state_interval_rows=7)
    assert len(whole.of("STATE")) > 6
    for at, message in enumerate(whole.messages):
        if message["type"] != "STATE":
            continue
        before = Run(b"\n".join(whole.lines[:at]))
        after = place.sync(state=message["value"], state_interval_rows=7)
        assert before.users + after.users == [f"u{n}" for n in range(50)]


def test_states_that_meltano_lays_one_over_the_other_resume_as_the_last_of_them(place: Workplace) -> None:
    # As it does with --full-refresh, --state-strategy=merge and `meltano state merge`.
    for number, name in enumerate("bcd"):
        place.write(f"{name}.json", *(event(number * 5 + n) for n in range(5)), "{broken")
    whole = place.sync(state_interval_rows=2)
    lay_over: t.Callable[..., t.Any] = merge
    merged: dict[str, t.Any] = {}
    for at, message in enumerate(whole.messages):
        if message["type"] == "STATE":
            lay_over(copy.deepcopy(message["value"]), merged)
            before = Run(b"\n".join(whole.lines[:at]))
            after = place.sync(state=copy.deepcopy(merged))
            assert before.users + after.users == whole.users
    place.write("a.json", event(99))
    assert place.sync(state=merged).users == ["u99"]


def test_line_numbers_and_offsets_go_on_where_a_run_was_interrupted(place: Workplace) -> None:
    path = place.write("a.json", *(event(n) for n in range(10)), "{broken")
    whole = place.sync(state_interval_rows=4)
    place.sync(state=whole.of("STATE")[1]["value"])
    first, second = place.rejects()
    assert first["line"] == second["line"] == 11
    assert path.read_bytes()[second["offset"] :] == b"{broken\n"
    assert first["offset"] == second["offset"]


def test_a_full_table_catalog_reads_everything_again(place: Workplace) -> None:
    place.write("a.json", event(1))
    first = place.sync()
    catalog = catalog_of(place)
    catalog["streams"][0]["replication_method"] = "FULL_TABLE"
    assert place.sync(state=first.state, catalog=catalog).users == ["u1"]


def test_replication_method_metadata_is_honoured_above_the_entry(place: Workplace) -> None:
    place.write("a.json", event(1))
    first = place.sync()
    for method, users in (("FULL_TABLE", ["u1"]), ("INCREMENTAL", [])):
        catalog = catalog_of(place)
        (root,) = [entry for entry in catalog["streams"][0]["metadata"] if entry["breadcrumb"] == []]
        root["metadata"]["replication-method"] = method
        assert place.sync(state=first.state, catalog=catalog).users == users


def test_a_replication_method_that_is_not_possible_is_refused(place: Workplace) -> None:
    place.write("a.json", event(1))
    catalog = catalog_of(place)
    catalog["streams"][0]["replication_method"] = "LOG_BASED"
    run = place.run(catalog=catalog)
    assert run.code == 1
    (line,) = run.complaints
    assert "'LOG_BASED' is not possible" in line


def test_a_full_table_run_leaves_a_state_that_an_incremental_one_goes_on_from(place: Workplace) -> None:
    place.write("a.json", event(1))
    catalog = catalog_of(place)
    catalog["streams"][0]["replication_method"] = "FULL_TABLE"
    state = place.sync(catalog=catalog).state
    place.write("b.json", event(2))
    assert place.sync(state=state).users == ["u2"]


def test_a_file_without_a_valid_row_is_a_bad_file_and_the_others_go_on(place: Workplace) -> None:
    place.write("a.json", "[", "]")
    place.write("b.json", event(1))
    with pytest.raises(BadFileError, match="1 bad file"):
        place.sync()
    assert place.last.users == ["u1"]
    assert place.rejects() == []
    assert place.last.report["rows_held_back"] == 2
    place.write("a.json", event(2))
    assert place.sync(state=place.last.state).users == ["u2"]


def test_a_file_with_too_many_invalid_rows_emits_none_of_its_first_thousand(place: Workplace) -> None:
    place.write("a.json", *(event(n) if n % 4 else "{broken" for n in range(900)))
    with pytest.raises(BadFileError):
        place.sync()
    assert place.last.records == []
    assert len(place.sync(max_invalid_percent=30, state=place.last.state).records) == 675


def test_a_file_that_goes_bad_later_keeps_what_was_emitted_and_does_not_rewind(place: Workplace) -> None:
    rows = [event(n) for n in range(3000)] + ["{broken"] * 400
    place.write("a.json", *rows)
    with pytest.raises(BadFileError):
        place.sync(state_interval_rows=500)
    first = place.last
    assert first.users == [f"u{n}" for n in range(3000)]
    with pytest.raises(BadFileError):
        place.sync(state=first.state, state_interval_rows=500)
    assert place.last.records == []
    assert place.sync(state=first.state, max_invalid_percent=50).records == []


def test_on_bad_file_stop_leaves_the_rest_for_the_next_run(place: Workplace) -> None:
    place.write("a.json", "[")
    place.write("b.json", event(1))
    with pytest.raises(BadFileError):
        place.sync(on_bad_file="stop")
    assert place.last.records == []
    place.write("a.json", event(2))
    assert place.sync(state=place.last.state).users == ["u2", "u1"]


ROWS = st.lists(
    st.one_of(
        st.sampled_from([*SEED_ROWS, "", "{broken", "[]", event(1) + "\r"]),
        st.builds(
            lambda n, custom: event(n, **custom),
            st.integers(0, 99),
            st.dictionaries(
                st.sampled_from(["a", "b", "{u}c", "é"]),
                st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from([0.5, -2.25, "", "x", "é"])),
            ),
        ),
    ),
    max_size=30,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, interval=st.integers(1, 40))
def test_records_written_as_bytes_and_through_the_sdk_are_the_same(
    place: Workplace, rows: list[str], interval: int
) -> None:
    place.write("a.json", *rows, event(999))
    runs = [
        place.sync(state_interval_rows=interval, max_invalid_percent=100, **more)
        for more in ({}, {"stream_maps": IDENTITY_MAP})
    ]
    assert runs[0].records == runs[1].records
    assert runs[0].properties == runs[1].properties
    assert runs[0].state == runs[1].state
    for name in ("rows_read", "rows_sent", "rows_rejected", "rows_blank", "rejected_by_reason"):
        assert runs[0].report[name] == runs[1].report[name]
