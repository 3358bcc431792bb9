"""`property_types`: in goes a value and the type its property is declared with, out comes the JSON text to emit.

Converts only where nothing is lost: any number or boolean to its own text, a text that is a JSON number to that number,
`"true"` and `"false"` to booleans. Refuses the rest; the row is then rejected as `wrong_type`.
"""

from __future__ import annotations

import typing as t

import msgspec

_NUMBER = msgspec.json.Decoder(t.Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | float)
_MAX_EXACT = 2**53

Conversion = t.Callable[[bytes], bytes]
"""From the JSON text of a value to the JSON text to emit in its place."""


class WrongTypeError(ValueError):
    """The value does not fit; the message says what it is, not what it holds."""


def conversion_for(declared: str | None, value: object) -> Conversion | None:
    """Find how a value of this Python type becomes `declared`; None when it already is, or nothing is declared."""
    if declared is None or value is None or type(value) in _FITTING[declared]:
        return None
    return _CONVERSIONS[declared]


def fits(declared: str, kind: str) -> bool:
    """Tell whether values of `kind` need no conversion where `declared` is the type."""
    return kind == declared or (kind, declared) == ("integer", "number")


def _to_string(text: bytes) -> bytes:
    return b'"' + text + b'"'


def _to_number(text: bytes) -> bytes:
    bare = text.strip(b'"')
    try:
        _NUMBER.decode(bare)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        msg = "a text or boolean that is not a JSON number"
        raise WrongTypeError(msg) from None
    return bare.strip()


def _to_integer(text: bytes) -> bytes:
    bare = _to_number(text)
    number = _NUMBER.decode(bare)
    if isinstance(number, int):
        return bare
    if number.is_integer() and abs(number) <= _MAX_EXACT:
        return b"%d" % int(number)
    msg = "a number that is not whole"
    raise WrongTypeError(msg)


def _to_boolean(text: bytes) -> bytes:
    bare = text.strip(b'"')
    if bare in {b"true", b"false"}:
        return bare
    msg = "neither true nor false"
    raise WrongTypeError(msg)


_FITTING: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}
_CONVERSIONS: dict[str, Conversion] = {
    "string": _to_string,
    "number": _to_number,
    "integer": _to_integer,
    "boolean": _to_boolean,
}
