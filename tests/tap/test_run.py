"""One run over files of rows: where rejects stand, when a file is bad, and what `on_invalid_row` comes before."""

from __future__ import annotations

import pytest

from tap_coolafile.exceptions import BadFileError, BadRowError
from tests.tap.conftest import Run, Workplace, event


def test_a_reject_stands_at_its_byte_also_after_rows_too_long(place: Workplace) -> None:
    rows = [event(1), "x" * 300_000, "{broken", event(2), "y" * 200_000, "{again", '{"cr"\r', "z" * 2_000_000, "{end"]
    path = place.write("a.json", "\n".join(rows))
    assert place.sync().users == ["u1", "u2"]
    content = path.read_bytes()
    begins = [0, *(at + 1 for at, byte in enumerate(content) if byte == ord("\n"))]
    assert [reject["line"] for reject in place.rejects()] == [2, 3, 5, 6, 7, 8, 9]
    assert [reject["offset"] for reject in place.rejects()] == [begins[line - 1] for line in (2, 3, 5, 6, 7, 8, 9)]


def test_a_row_too_long_is_never_taken_for_blank_or_valid_by_its_beginning(place: Workplace) -> None:
    size = len(event(1))
    exact = [event(1), event(2) + "\r", " " * size, "\r" * (size + 1)]
    longer = [" " * 500 + event(3), event(4) + "\r" * 500 + "x", "\r" * 500 + event(5), event(6) + " "]
    path = place.write("a.json", *exact, *longer)
    run = place.sync(max_row_bytes=size)
    assert (run.users, run.report["rows_blank"]) == (["u1", "u2"], 2)
    assert [(reject["reason"], reject["line"]) for reject in place.rejects()] == [("too_long", n) for n in (5, 6, 7, 8)]
    for reject in place.rejects():
        assert path.read_bytes()[reject["offset"] :].startswith(reject["row"].encode())


@pytest.mark.parametrize("invalid", [1, 450])
@pytest.mark.parametrize("on_bad_file", ["continue", "stop"])
def test_on_invalid_row_fail_stops_before_a_file_is_called_bad(
    place: Workplace, invalid: int, on_bad_file: str
) -> None:
    place.write("a.json", *["{broken"] * invalid)
    place.write("b.json", event(1))
    with pytest.raises(BadRowError, match=r"a.json line 1 \(byte 0\)"):
        place.sync(on_invalid_row="fail", on_bad_file=on_bad_file)
    assert place.last.records == []
    place.write("a.json", event(0))
    assert place.sync(on_invalid_row="fail", state=place.last.state).users == ["u0", "u1"]


def test_a_huge_file_that_is_one_json_array_is_judged_before_anything_of_it_is_kept(place: Workplace) -> None:
    place.write("a.json", "[" + f"{event()}," * 200_000 + f"{event()}]")
    with pytest.raises(BadFileError):
        place.sync()
    assert (place.last.report["rows_held_back"], place.rejects()) == (1, [])
    place.write("a.json", event(1))
    assert place.sync(state=place.last.state).users == ["u1"]


def test_rows_of_a_bad_file_teach_nothing_that_good_files_do_not_show(place: Workplace) -> None:
    bad = [event(n, qty="text", new=1, odd=True) if n % 2 else "{broken" for n in range(900)]
    place.write("a.json", event(1, qty=1))
    place.write("b.json", *bad)
    place.write("c.json", event(2, qty=2, new=1))
    run = place.run()
    assert (run.code, run.users) == (1, ["u1", "u2"])
    assert {name: run.properties[name]["type"] for name in ("qty", "new")} == {
        "qty": ["number", "null"],
        "new": ["number", "null"],
    }
    assert "odd" not in run.properties
    assert run.report["type_changes"] == {}
    assert "changed its type" not in run.log
    late = [*(event(n, qty=n) for n in range(1500)), *["{broken"] * 200, event(0, qty="text")]
    place.write("d.json", *late)
    again = place.run(state_interval_rows=300, state=run.state)
    assert len(again.users) == 1500
    assert (again.properties["qty"]["type"], again.report["type_changes"]) == (["number", "null"], {})


def test_rows_nested_deeply_and_a_row_of_sixty_megabytes_cost_neither_memory_nor_the_run(place: Workplace) -> None:
    place.write("a.json", event(1))
    usual = place.peak_kib(max_row_bytes=1_000_000)
    deep = [
        "[" * 100_000,
        '{"a":' * 100_000,
        f'{event()[:-1]},"a":{"[" * 100_000}',
        f'{{"a":{"[" * 100_000}{"]" * 100_000}}}',
    ]
    path = place.write("a.json", event(1), *deep, '{"a":"' + "x" * 60_000_000 + '"}', event(2))
    assert place.peak_kib(max_row_bytes=1_000_000) - usual < 20 << 10
    run = place.sync(max_row_bytes=1_000_000)
    assert run.users == ["u1", "u2"]
    assert run.report["rejected_by_reason"] == {"not_object": 1, "nested_value": 3, "too_long": 1}
    assert run.report["bytes_read"] == path.stat().st_size


def test_a_resumed_file_is_judged_by_its_rows_before_the_state_too(place: Workplace) -> None:
    rows = [event(n) if n % 8 else "{broken" for n in range(800)]
    worse = [event(n) if n % 4 else "{broken" for n in range(2000, 5000)]
    place.write("a.json", *rows, *map(event, range(800, 2000)), *worse)
    with pytest.raises(BadFileError):
        place.sync(state_interval_rows=200)
    whole = place.last
    states = [at for at, message in enumerate(whole.messages) if message["type"] == "STATE"]
    for at in states[2:]:
        before = Run(b"\n".join(whole.lines[:at]))
        with pytest.raises(BadFileError):
            place.sync(state=whole.messages[at]["value"], state_interval_rows=200)
        assert before.users + place.last.users == whole.users
    assert len(states) > 10
