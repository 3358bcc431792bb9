"""Bodies of track calls: what is read, what is refused, what is answered."""

from __future__ import annotations

import itertools
import json
import re
import typing as t
from urllib.parse import quote, quote_plus, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target_cooladata.sandbox.ingest import (
    FORM,
    BodyRules,
    ReceivedEvent,
    RefusedBodyError,
    percent_decode,
    read_events,
    reply,
)
from tests.sandbox.examples import event

if t.TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox_server import SandboxServer

RULES = BodyRules()
ONE = json.dumps({"events": [event(note='50% + 1 = é & "x"')]}, ensure_ascii=False)
PLAIN = '{"events":[{"a":1}]}'

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def values(body: bytes, content_type: str = FORM, rules: BodyRules = RULES) -> list[t.Any]:
    return [received.value for received in read_events(body, content_type, rules)]


@given(st.binary())
def test_percent_decoding_gives_back_any_bytes(original: bytes) -> None:
    assert percent_decode(quote(original, safe="").encode()) == original


@given(st.text(alphabet="%=2CcAa7Bbd3+_ é\r\n\t\0", max_size=30))
def test_percent_decoding_is_the_standard_library_s_wherever_it_is_not_refused(text: str) -> None:
    body = text.encode()
    try:
        decoded = percent_decode(body)
    except RefusedBodyError:
        assert any(len(s) < 2 or not set(s[:2]) <= set("0123456789abcdefABCDEF") for s in text.split("%")[1:])
    else:
        assert decoded == unquote_to_bytes(body)


def test_no_arrangement_of_signs_and_line_breaks_is_decoded_wrongly() -> None:
    for signs in itertools.product((b"%", b"=", b"\n", b"\r", b"A", b"g"), repeat=6):
        body = b"".join(signs)
        is_sound = re.search(rb"%(?![0-9A-Fa-f]{2})", body) is None
        try:
            assert percent_decode(body) == unquote_to_bytes(body)
            assert is_sound
        except RefusedBodyError:
            assert not is_sound


@given(st.lists(JSON_VALUES, max_size=5), st.sampled_from([(quote, ""), (quote, "data="), (quote_plus, "data=")]))
def test_every_event_arrives_as_it_was_sent(events: list[t.Any], encoding: tuple[Callable[..., str], str]) -> None:
    encode, prefix = encoding
    text = json.dumps({"events": events}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        return
    assert values((prefix + encode(text, safe="")).encode()) == events


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (quote(ONE, safe=""), FORM),
        (quote(ONE, safe="").replace("%2C", "%2c"), FORM),
        ("data=" + quote(ONE, safe=""), FORM),
        ("data=" + quote_plus(ONE), FORM),
        ("r=17&data=" + quote(ONE, safe="") + "&x=%", FORM),
        (ONE, "application/json"),
        (ONE, ""),
        ("data=" + ONE, "application/json"),
    ],
)
def test_every_encoding_that_clients_were_seen_to_use_is_read(body: str, content_type: str) -> None:
    assert values(body.encode(), content_type) == [event(note='50% + 1 = é & "x"')]


def test_a_plus_is_a_space_in_a_form_and_itself_without_a_field_name() -> None:
    body = b"%7B%22events%22:[%22a+b%22]%7D"
    assert values(b"data=" + body) == ["a b"]
    assert values(body) == ["a+b"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"%7B%22events%22%3A%5B%5D%7",
        b"%7B%22events%22%3A%5B%22%zz%22%5D%7D",
        b'{"events":["100%"]}',  # not percent-encoded at all
        b"%7B%22events%22%3A%5B%22%ff%22%5D%7D",  # not UTF-8
        b"%ef%bb%bf%7B%22events%22%3A%5B%5D%7D",
        b"%7B%22events%22%3A%5B1%2C%5D%7D",
        b"%7B%22events%22%3A%5BNaN%5D%7D",
        b"%7B%22events%22%3A%5B%22%5Cud800%22%5D%7D",  # half a surrogate pair
        b"%7B%22events%22%3A%7B%7D%7D",
        b"%7B%22Events%22%3A%5B%5D%7D",
        b"%5B%5D",
        b"null",
        b"events=%5B%5D",
        b"data=%7B%22events%22%3A%5B%5D%7D&data=%7B%22events%22%3A%5B%5D%7D",
        quote('{"events":' + "[" * 100_000 + "]" * 100_000 + "}").encode(),
        b"\x1f\x8b\x08\x00compressed",
    ],
    ids=lambda body: body[:40].decode("latin-1") if len(body) < 1000 else "deeply nested",
)
def test_a_body_that_holds_no_events_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedBodyError):
        values(body)


@pytest.mark.parametrize(("encodings", "refused"), [("raw", "data="), ("data", "")])
def test_one_of_the_encodings_can_be_refused(encodings: t.Literal["raw", "data"], refused: str) -> None:
    body, rules = quote(PLAIN, safe=""), BodyRules(encodings)
    other = "" if refused else "data="
    assert values((other + body).encode(), FORM, rules) == [{"a": 1}]
    with pytest.raises(RefusedBodyError, match="told to take only"):
        values((refused + body).encode(), FORM, rules)


def test_more_than_300_events_are_refused_unless_the_rules_take_them() -> None:
    body = json.dumps({"events": [1] * 301}).encode()
    with pytest.raises(RefusedBodyError, match="301 events"):
        values(body)
    assert len(values(body, rules=BodyRules(accept_over_limit=True))) == 301
    assert len(values(json.dumps({"events": [1] * 300}).encode())) == 300


def test_the_text_of_an_event_is_kept_byte_for_byte() -> None:
    text = '{ "b":1.50, "a" : 12345678901234567890123, "a":"\\u00e9é" }'
    assert [r.text for r in read_events(f'{{"events": [ {text} ]}}'.encode(), "", RULES)] == [text]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":"é"}', '{ "b":"\\u00e9", "a":1 }', True),
        ('{"a":1}', '{"a":"1"}', False),
        ('{"a":1}', '{"a":1.0}', False),
        ('{"a":null}', "{}", False),
        ("1e400", "1e400", True),
    ],
)
def test_events_have_the_same_content_if_they_say_the_same(one: str, other: str, *, same: bool) -> None:
    first, second = read_events(f'{{"events":[{one},{other}]}}'.encode(), "", RULES)
    assert (first.content == second.content) is same


def test_the_reply_has_an_entry_per_distinct_event_id() -> None:
    sent: list[t.Any] = [
        {"event_id": "a"},
        {"event_id": "a"},
        {"event_id": 7},
        {"event_id": None},
        {},
        "a",
        {"event_id": [1]},
    ]
    received = [ReceivedEvent("", value, 0) for value in sent]
    assert json.loads(reply(received)) == {"status": True, "results": {"a": {"event_id": "a"}, "7": {"event_id": 7}}}


def test_a_refused_body_gets_200_with_status_false_and_nothing_is_stored(shared: SandboxServer) -> None:
    before = shared.summary()
    answer = shared.post("/v3/key/track", b"%7B%22events%22", content_type=FORM)
    assert (answer.status_code, answer.json()["status"], answer.json()["results"]) == (200, False, {})
    assert shared.summary() == before


def test_a_compressed_body_is_not_unpacked(shared: SandboxServer) -> None:
    answer = shared.post("/v3/key/track", b"\x1f\x8b\x08\x00")
    assert answer.json()["status"] is False


def test_the_form_content_type_may_have_parameters_and_any_case(shared: SandboxServer) -> None:
    body = quote(PLAIN, safe="").encode()
    answer = shared.post("/v3/key/track", body, content_type="Application/X-WWW-Form-URLencoded; charset=UTF-8")
    assert answer.json()["status"] is True
