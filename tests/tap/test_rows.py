"""The rules of a row, each input with its verdict; and that the quick way and the long way never differ."""

from __future__ import annotations

import json
import typing as t
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_coolafile.rows import REASONS, Judge, Judged, Rules
from tests.tap.conftest import SEED_ROWS, event

OK = '"event_name":"login","user_id":"u1","event_time_ts":1425920218354'


def judged(*lines: str | bytes, warm: bool = True, **rules: t.Any) -> Judged:
    """Judge `lines`; if `warm`, for the second time, when a form has been made of what the first time showed."""
    judge = Judge(Rules(**rules), lambda *_: None)
    data = [line.encode() if isinstance(line, str) else line for line in lines]
    if warm:
        judge.judge([*data, event().encode()])
    return judge.judge(data)


def reason(line: str | bytes, **rules: t.Any) -> str:
    result = judged(line, **rules)
    assert result.records == [None]
    assert result.rejects[0].reason in REASONS
    return result.rejects[0].reason


def record(line: str | bytes, **rules: t.Any) -> bytes:
    result = judged(line, **rules)
    assert not result.rejects, result.rejects
    assert result.records[0] is not None
    return result.records[0]


REFUSED: dict[str, list[t.Any]] = {
    "not_utf8": [b'{"event_name":"\xff"}', b"\xed\xa0\x80", ("{" + OK + ',"a":"').encode() + b'\xc0\x80"}'],
    "not_json": [
        "{",
        "nonsense",
        "{" + OK,
        "{" + OK + ",}",
        "{" + OK + "}}",
        "{" + OK + '"}',
        "{" + OK + ',"a":NaN}',
        "{" + OK + ',"a":Infinity}',
        "{" + OK + ',"a":-Infinity}',
        "{" + OK + ',"a":01}',
        "{" + OK + ',"a":"\t"}',
        "\ufeff{" + OK + "}",
        "{" + OK + "} {" + OK + "}",
    ],
    "not_object": ["[]", "1", '"text"', "null", "[{" + OK + "},{" + OK + "}]", "[" * 90_000],
    "nested_value": ["{" + OK + ',"a":{}}', "{" + OK + ',"a":[]}', "{" + OK + ',"a":' + "[" * 90_000],
    "missing_event_name": [
        '{"user_id":"u","event_time_ts":1425920218354}',
        "{" + OK.replace('"login"', '""') + "}",
        "{" + OK.replace('"login"', "null") + "}",
    ],
    "missing_user_id": [
        '{"event_name":"e","event_time_ts":1425920218354}',
        "{" + OK.replace('"u1"', '""') + "}",
        "{" + OK.replace('"u1"', "null") + "}",
    ],
    "missing_time": [
        '{"event_name":"e","user_id":"u"}',
        "{" + OK.replace("1425920218354", '""') + "}",
        "{" + OK.replace("1425920218354", "null") + "}",
    ],
    "bad_event_name": ["{" + OK.replace('"login"', "1.5") + "}", "{" + OK.replace('"login"', "true") + "}"],
    "bad_user_id": ["{" + OK.replace('"u1"', "1.5") + "}", "{" + OK.replace('"u1"', "false") + "}"],
    "bad_time": [
        "{" + OK.replace("1425920218354", value) + "}"
        for value in (
            '"yesterday"',
            '"15/10/2012"',
            '"2012-13-01"',
            '"2012-10-15 24:00:01"',
            "142592021835",
            "14259202183540",
            "0",
            "-1",
            "1425920218354.0",
            "1.425920218354e12",
            "true",
            '"2012-10-15T04:06"',
            '"2012-10-15 04:06:30 UTC"',
            '" 1425920218354"',
            '"١٤٢٥٩٢٠٢١٨٣٥٤"',
        )
    ],
    "time_in_seconds": ["{" + OK.replace("1425920218354", value) + "}" for value in ("1425920218", '"1425920218"')],
    "duplicate_key": [
        "{" + OK + ',"a":1,"a":2}',
        "{" + OK + ',"user_id":"u1"}',
        "{" + OK + ',"a":"x\\"","a":"y"}',
        "{" + OK + ',"a":1,"\\u0061":2}',
        "{" + OK + ',"event_time_ts":1425920218354}',
    ],
    "number_out_of_range": [
        "{" + OK + ',"a":9223372036854775808}',
        "{" + OK + ',"a":-9223372036854775809}',
        "{" + OK + ',"a":1e400}',
        "{" + OK + ',"a":-1e400}',
        "{" + OK + ',"a":' + "9" * 5000 + "}",
    ],
    "nul_character": ["{" + OK + ',"a":"\\u0000"}', "{" + OK + ',"a\\u0000":1}', "{" + OK + ',"a":"\0"}'],
    "bad_escape": [
        "{" + OK + ',"a":"\\x41"}',
        "{" + OK + ',"a":"\\ud800"}',
        "{" + OK + ',"a":"\\udc00"}',
        "{" + OK + ',"a":"\\ud800\\u0041"}',
        "{" + OK + ',"a":"\\u12"}',
    ],
    "too_long": ["{" + OK + ',"a":"' + "x" * 100_000 + '"}'],
}


@pytest.mark.parametrize(
    ("word", "line"),
    [
        pytest.param(word, line, id=f"{word}-{number}")
        for word, lines in REFUSED.items()
        for number, line in enumerate(lines)
    ],
)
@pytest.mark.parametrize("warm", [True, False])
def test_a_broken_row_is_refused_with_its_reason(word: str, line: str | bytes, *, warm: bool) -> None:
    assert reason(line, warm=warm) == word


def test_every_reason_is_tested_here() -> None:
    assert set(REFUSED) | {"wrong_type"} == set(REASONS)


def test_good_neighbours_of_a_broken_row_are_kept() -> None:
    result = judged(event(1), "{broken", event(2))
    assert result.records == [event(1).encode(), None, event(2).encode()]
    assert [reject.index for reject in result.rejects] == [1]


@pytest.mark.parametrize("line", ["", "   ", "\t", "\r", " \r"])
def test_a_blank_line_is_neither_event_nor_reject(line: str) -> None:
    result = judged(line)
    assert (result.records, result.rejects, result.blank) == ([None], [], 1)


@pytest.mark.parametrize(
    "value",
    [
        "1234567890123456789",
        "-9223372036854775808",
        "9223372036854775807",
        "-0",
        "-0.0",
        "1E5",
        "1.50",
        "1e-400",
        "0.1",
        "100000000000000000000000.0",
        '"caf\\u00e9"',
        '"a\\/b"',
        '"\\ud83d\\ude00"',
        '"\\\\u0000"',
        '"é 東京"',
        '"\u2028"',
        '"null"',
        '"\x7f"',
        "true",
        "false",
        '" "',
    ],
)
@pytest.mark.parametrize("time", ["1425920218354", '"2015-03-09 16:56:58.354"'])
def test_the_bytes_of_a_value_pass_unchanged(value: str, time: str) -> None:
    line = "{" + OK.replace("1425920218354", time) + f',"a":{value}' + "}"
    assert f'"a":{value}'.encode() in record(line)
    assert f'"a":{value}'.encode() in record(line, warm=False)
    assert b'"event_time_ts":1425920218354' in record(line)


@pytest.mark.parametrize(
    ("time", "ms"),
    [
        ("1425920218354", 1425920218354),
        ('"1425920218354"', 1425920218354),
        ('"2012-10-15 04:06:30"', 1350273990000),
        ('"2012-10-15T04:06:30"', 1350273990000),
        ('"2012-10-15T04:06:30Z"', 1350273990000),
        ('"2012-10-15 06:06:30+02:00"', 1350273990000),
        ('"2012-10-15 04:06:30.5"', 1350273990500),
        ('"2012-10-15 04:06:30.123456789"', 1350273990123),
        ('"2012-10-15"', 1350259200000),
        ('"1969-12-31 23:59:59.5"', -500),
    ],
)
@pytest.mark.parametrize("key", ["event_time_ts", "event_timestamp_epoch", "event_timestamp"])
def test_a_time_in_any_spelling_becomes_milliseconds(key: str, time: str, ms: int) -> None:
    line = f'{{"event_name":"e","user_id":"u","{key}":{time}}}'
    assert json.loads(record(line)) == {"event_name": "e", "user_id": "u", "event_time_ts": ms}


def test_a_time_without_zone_is_taken_in_the_zone_of_the_settings() -> None:
    line = '{"event_name":"e","user_id":"u","event_time_ts":"2012-07-15 04:06:30"}'
    utc, berlin = (json.loads(record(line, time_zone=zone))["event_time_ts"] for zone in ("UTC", "Europe/Berlin"))
    assert utc - berlin == 2 * 3_600_000


def test_of_several_times_the_first_spelling_wins_and_a_disagreement_is_counted() -> None:
    judge = Judge(Rules(), lambda *_: None)
    both = '{"event_name":"e","user_id":"u","event_timestamp":"2012-10-15","event_time_ts":1350259200000}'
    other = '{"event_name":"e","user_id":"u","event_timestamp":"2013-10-15","event_time_ts":1350259200000}'
    result = judge.judge([both.encode(), other.encode()] * 2)
    assert [json.loads(text or b"")["event_time_ts"] for text in result.records] == [1350259200000] * 4
    assert all(b'"event_timestamp"' not in (text or b"") for text in result.records)
    assert judge.notices.times_disagreeing == 2


def test_an_integer_too_large_is_refused_also_where_fractions_were_seen() -> None:
    judge = Judge(Rules(), lambda *_: None)
    judge.judge([event(1, a=1.5).encode()])
    assert judge.judge([event(1, a=2**63).encode()]).rejects[0].reason == "number_out_of_range"


def test_null_and_empty_properties_are_left_out() -> None:
    line = "{" + OK + ',"ip":"","city":null,"n":0,"f":false,"s":" "}'
    for warm in (True, False):
        assert json.loads(record(line, warm=warm)) == json.loads("{" + OK + ',"n":0,"f":false,"s":" "}')


def test_an_empty_text_stays_if_the_settings_say_so() -> None:
    line = "{" + OK + ',"ip":"","city":null}'
    assert json.loads(record(line, empty_as_null=False)) == json.loads("{" + OK + ',"ip":""}')


def test_an_integer_user_becomes_its_digits_and_is_counted() -> None:
    judge = Judge(Rules(), lambda *_: None)
    (text,) = judge.judge([b'{"event_name":7,"user_id":1234567890123456789,"event_time_ts":1425920218354}']).records
    assert json.loads(text or b"") == {
        "event_name": "7",
        "user_id": "1234567890123456789",
        "event_time_ts": 1425920218354,
    }
    assert judge.notices.integers_as_text == 2


def test_a_carriage_return_never_reaches_the_output() -> None:
    assert record(event() + "\r") == event().encode()
    assert b"\r" not in record("{\r" + OK + "}")


def test_the_seed_rows_keep_their_custom_properties() -> None:
    for row in SEED_ROWS:
        got, given_ = json.loads(record(row)), json.loads(row)
        for key in ("event_time_ts", "event_timestamp", "ip"):
            given_.pop(key, None)
        assert {key: value for key, value in got.items() if key != "event_time_ts"} == given_


@pytest.mark.parametrize(
    ("declared", "value", "emitted"),
    [
        ("string", "5", '"5"'),
        ("string", "1.50", '"1.50"'),
        ("string", "true", '"true"'),
        ("string", '"x"', '"x"'),
        ("number", '"5"', "5"),
        ("number", '"1.50"', "1.50"),
        ("number", "7", "7"),
        ("integer", '"5"', "5"),
        ("integer", "5.0", "5"),
        ("boolean", '"true"', "true"),
        ("boolean", "false", "false"),
    ],
)
def test_property_types_convert_where_nothing_is_lost(declared: str, value: str, emitted: str) -> None:
    line = "{" + OK + f',"a":{value}' + "}"
    for warm in (True, False):
        assert f'"a":{emitted}'.encode() in record(line, property_types={"a": declared}, warm=warm)


def test_rows_that_need_converting_go_on_needing_it() -> None:
    judge = Judge(Rules(property_types={"a": "string"}), lambda *_: None)
    for value in ("1", '"x"', "2.50", "null", "true") * 2:
        (text,) = judge.judge([("{" + OK + f',"a":{value}' + "}").encode()]).records
        assert isinstance(json.loads(text or b"").get("a", ""), str)


def test_nulls_do_not_teach_to_leave_empty_texts_out() -> None:
    judge = Judge(Rules(empty_as_null=False), lambda *_: None)
    lines = [event(1, a=None).encode(), event(2, a="x").encode(), event(3, a="").encode()]
    for _ in range(3):
        assert json.loads(judge.judge(lines).records[2] or b"")["a"] == ""


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("number", '"x"'),
        ("number", "true"),
        ("integer", "1.5"),
        ("integer", '"1.5"'),
        ("boolean", "1"),
        ("boolean", '"yes"'),
    ],
)
def test_a_value_that_cannot_take_its_declared_type_is_refused(declared: str, value: str) -> None:
    assert reason("{" + OK + f',"a":{value}' + "}", property_types={"a": declared}) == "wrong_type"


def test_each_property_and_type_is_announced_once_and_before_its_record() -> None:
    told: list[tuple[str, str]] = []
    judge = Judge(Rules(), lambda name, kind: told.append((name, kind)))
    lines = [event(n, a=value).encode() for n, value in enumerate([1, 2, 1.5, "x", True, None, "", 3])]
    judge.judge(lines)
    judge.judge(lines)
    assert told == [("a", "integer"), ("a", "number"), ("a", "string"), ("a", "boolean")]


def test_a_property_that_was_only_empty_so_far_is_announced_when_it_holds_a_value() -> None:
    told: list[tuple[str, str]] = []
    judge = Judge(Rules(), lambda name, kind: told.append((name, kind)))
    judge.judge([event(1, ip="").encode(), event(2, ip=None).encode()])
    assert told == []
    judge.judge([event(3, ip="").encode(), event(4, ip="1.2.3.4").encode()])
    assert told == [("ip", "string")]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**64), 2**64),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["", "2012-10-15 04:06:30", "1425920218354", 1425920218354, "0", 0]),
)
NAMES = st.sampled_from(
    ["a", "a", "a", "b", "ip", "{u}c", "é", 'q"q', "", "event_name", "user_id", "event_time_ts", "event_timestamp"]
)
OBJECTS = st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=1)), max_size=7)
EVENTS = OBJECTS.map(lambda given_: {"event_name": "e", "user_id": "u", "event_time_ts": 1425920218354} | given_)


@st.composite
def line(draw: st.DrawFn) -> bytes:
    """Write an object or event as JSON in one of several manners, now and then with a byte of it changed."""
    value = draw(st.one_of(OBJECTS, EVENTS, EVENTS))
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    )
    data = bytearray(text.encode(errors="surrogatepass"))
    if draw(st.integers(0, 3)) == 0:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data).replace(b"\n", b" ")


@settings(max_examples=700)
@given(
    st.lists(line(), max_size=12),
    st.booleans(),
    st.dictionaries(st.sampled_from(["a", "ip"]), st.sampled_from(["string", "number", "integer", "boolean"])),
)
def test_the_quick_way_and_the_long_way_agree(
    lines: list[bytes], empty_as_null: bool, property_types: dict[str, str]
) -> None:
    rules = Rules(empty_as_null=empty_as_null, property_types=property_types)
    told: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    quick = Judge(rules, lambda *pair: told[True].add(pair))
    quick.judge(lines)
    again = quick.judge(lines)
    # A judge that knows nothing yet takes the long way.
    single = [Judge(rules, lambda *pair: told[False].add(pair)).judge([text]) for text in lines]
    assert [reject.index for reject in again.rejects] == [i for i, one in enumerate(single) if one.rejects]
    assert [reject.reason for reject in again.rejects] == [one.rejects[0].reason for one in single if one.rejects]
    for got, one in zip(again.records, single, strict=True):
        assert _exact(got) == _exact(one.records[0])
    assert told[True] == told[False]


@settings(max_examples=300)
@given(st.lists(line(), max_size=12))
def test_no_row_is_lost_and_records_hold_what_the_rows_held(lines: list[bytes]) -> None:
    result = judged(*lines)
    assert len(result.records) == len(lines)
    assert result.records.count(None) == len(result.rejects) + result.blank
    for text, got in zip(lines, result.records, strict=True):
        if got is None:
            continue
        before = {name: value for name, value in _numbers(text).items() if value not in {None, ""}}
        after = _numbers(got)
        assert b"\n" not in got
        assert {
            k: v
            for k, v in after.items()
            if k in before and not k.startswith("event_time") and k not in {"user_id", "event_name"}
        } == {k: v for k, v in before.items() if not k.startswith("event_time") and k not in {"user_id", "event_name"}}
        assert isinstance(after["event_time_ts"], int)


def _numbers(text: bytes) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(text, parse_float=Decimal)
    return found


def _exact(text: bytes | None) -> t.Any:
    """Tell two records apart by the very bytes of their values."""
    return (
        None
        if text is None
        else {k: bytes(v) for k, v in msgspec.json.decode(text, type=dict[str, msgspec.Raw]).items()}
    )
