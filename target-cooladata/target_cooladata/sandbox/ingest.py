"""One tracking call's body in, its events out, each kept as the very text that was sent.

In: the bytes of a request body and its content type. Out: `ReceivedEvent`s in the order sent, and the reply that
acknowledges them. Refuses (`RefusedBodyError`) what no JSON reader could take for events: broken percent
sequences, bytes that are not UTF-8, text that is not JSON, no `events` array, an encoding or a number of events the
sandbox was told to refuse. Whether an event is any good is not asked here: CoolaData decides that after it
has answered.
"""

from __future__ import annotations

import binascii
import hashlib
import typing as t
from dataclasses import dataclass

import msgspec

MAX_EVENTS_PER_CALL = 300
"""CoolaData REST page: up to 300 events a call. What happens above is not documented."""

FORM = "application/x-www-form-urlencoded"
"""The only content type the CoolaData REST page lists."""

_DATA_FIELD = b"data="
_HASH_BYTES = 8


class RefusedBodyError(Exception):
    """The body of a call cannot be read as events; `str()` says why, without any of its content."""


@dataclass(frozen=True)
class BodyRules:
    """Which bodies are taken.

    Attributes:
        encodings: `both`, or only `raw` (the body is the JSON, with no field name) or `data` (a form field `data`).
            Assumption: CoolaData's page shows no field name, its own trackers send `data`; so both, by default.
        accept_over_limit: take calls of more than 300 events.
    """

    encodings: t.Literal["both", "raw", "data"] = "both"
    accept_over_limit: bool = False


class ReceivedEvent(msgspec.Struct, frozen=True):
    """One element of `events`.

    Attributes:
        text: its JSON, byte for byte as received.
        value: what the JSON says; `UNSET` if it says a number no double can hold.
        content: 64 bits of a hash over the canonical JSON. Two events are the same content if these agree; among
            ten million events two that differ agree by chance about once in 400,000 such databases.
    """

    text: str
    value: t.Any
    content: int


class _Payload(msgspec.Struct):
    events: list[msgspec.Raw]


_payloads = msgspec.json.Decoder(_Payload)
_values = msgspec.json.Decoder()
_canonical = msgspec.json.Encoder(order="sorted")


def read_events(body: bytes, content_type: str, rules: BodyRules) -> list[ReceivedEvent]:
    """Decode the body of one call.

    With the form content type the body is percent-encoded, as the REST page asks. Clients were also seen to send
    plain JSON under other content types, which is then taken as it is: a `%` in it is only a `%`.

    Args:
        body: the request body, not decompressed (CoolaData documents no compression).
        content_type: the media type without parameters, `""` if there was none.
        rules: what to refuse beside what cannot be read.

    Returns:
        The events in the order sent.

    Raises:
        RefusedBodyError: with the reason.
    """
    text = _json_text(body, content_type, rules.encodings)
    try:
        text.decode()
        payload = _payloads.decode(text)
    except UnicodeDecodeError:
        msg = "the body is not UTF-8"
        raise RefusedBodyError(msg) from None
    except msgspec.ValidationError:
        msg = 'the body has no array "events"'
        raise RefusedBodyError(msg) from None
    except (msgspec.DecodeError, RecursionError):
        msg = "the body is not JSON"
        raise RefusedBodyError(msg) from None
    if len(payload.events) > MAX_EVENTS_PER_CALL and not rules.accept_over_limit:
        msg = f"{len(payload.events)} events in one call, at most {MAX_EVENTS_PER_CALL} are allowed"
        raise RefusedBodyError(msg)
    return [_received(raw) for raw in payload.events]


def reply(events: t.Iterable[ReceivedEvent]) -> bytes:
    """Return the body that acknowledges a call: JSON with `status` true and one result per distinct `event_id`.

    The shape is read from CoolaData's own trackers; the REST page's example was never seen. Validity is not in it.
    """
    ids = (e.value.get("event_id") for e in events if type(e.value) is dict)
    results = {str(i): {"event_id": i} for i in ids if type(i) in {str, int}}
    return msgspec.json.encode({"status": True, "results": results})


def percent_decode(body: bytes) -> bytes:
    """Undo percent-encoding, strictly; a `+` stays a `+`.

    Quoted-printable is percent-encoding with another sign, and the standard library decodes it in C: in a tenth of the
    time `unquote_to_bytes` takes, which was most of what a call cost. Every escape must shorten the text by two
    bytes; one that is broken does not. Only a sign before a line break, which quoted-printable removes, has
    to be looked for.

    Raises:
        RefusedBodyError: a `%` is not followed by two hexadecimal digits.
    """
    quoted = body.replace(b"=", b"%3D").replace(b"%", b"=")
    decoded = binascii.a2b_qp(quoted)
    if len(decoded) != len(quoted) - 2 * quoted.count(b"=") or b"%\n" in body or b"%\r" in body:
        msg = "the body is not percent-encoded: a % without two hexadecimal digits"
        raise RefusedBodyError(msg)
    return decoded


def _json_text(body: bytes, content_type: str, encodings: str) -> bytes:
    is_form = content_type == FORM
    # One client sends data= and then plain JSON, with a JSON content type: no form, so nothing in it is encoded.
    field = _data_field(body) if is_form else (body[len(_DATA_FIELD) :] if body.startswith(_DATA_FIELD) else None)
    if encodings == ("data" if field is None else "raw"):
        msg = f"this sandbox was told to take only the encoding {encodings!r}"
        raise RefusedBodyError(msg)
    if not is_form:
        return body if field is None else field
    # In a form + is a space. Assumption: without a field name the body is no form, and + is itself.
    return percent_decode(body if field is None else field.replace(b"+", b" "))


def _data_field(body: bytes) -> bytes | None:
    """Return the value of the form field `data`, still encoded; `None` if the body is the JSON itself."""
    if body.lstrip()[:1] in {b"{", b"%"}:
        return None
    values = [f.removeprefix(_DATA_FIELD) for f in body.split(b"&") if f.startswith(_DATA_FIELD)]
    if len(values) > 1:
        msg = "the form has more than one field data"
        raise RefusedBodyError(msg)
    return values[0] if values else None


def _received(raw: msgspec.Raw) -> ReceivedEvent:
    text = bytes(raw)
    try:
        value = _values.decode(text)
        canonical = _canonical.encode(value)
    except msgspec.DecodeError:  # well-formed, or the whole would not have been read: a number such as 1e400
        value, canonical = msgspec.UNSET, text
    digest = hashlib.blake2b(canonical, digest_size=_HASH_BYTES).digest()
    return ReceivedEvent(text.decode(), value, int.from_bytes(digest, "big", signed=True))
