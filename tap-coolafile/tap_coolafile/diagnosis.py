"""Why a line is no event: in goes a line the decoder refused, out comes the reason and where in the line it shows.

Runs only for refused lines, so it may take its time: the standard library's parser, which accepts more than JSON,
is asked what msgspec's refusal meant. No detail quotes a value: details reach the rejects file, values stay in `row`.
"""

from __future__ import annotations

import json
import typing as t

import msgspec

_FORMAT = "the format expected is one JSON object per line (newline-delimited JSON)"

_ONE_ARRAY = "as in a file that is one JSON array"


_MARKS = {
    b"\xff\xfe": "UTF-16 does; UTF-8 is expected",
    b"\xfe\xff": "UTF-16 does; UTF-8 is expected",
    b"\x1f\x8b": "gzip does; allow_compressed reads it if the name ends in .json.gz",
}


class Finding(msgspec.Struct, frozen=True):
    """A reason (a word of `rows.REASONS`) and one phrase about this line."""

    reason: str
    detail: str


class _ConstantError(ValueError):
    """The line says NaN or Infinity."""


def diagnose(line: bytes, refusal: Exception) -> Finding:
    """Name what makes `line` invalid, given the exception msgspec's flat-object decoder raised for it."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        looks = next((f", but begins as {what}" for mark, what in _MARKS.items() if line.startswith(mark)), "")
        return Finding("not_utf8", f"byte {error.start + 1} of the row is not UTF-8{looks}")
    if not text.lstrip(" \t\r\n").startswith("{"):
        return _not_an_object(text)
    message = str(refusal)
    if "out of range" in message or "Expected `int`" in message:
        return Finding("number_out_of_range", "a number does not fit 64-bit integers or doubles")
    if isinstance(refusal, msgspec.ValidationError):
        return Finding("nested_value", "a property holds an object or an array")
    return _syntax(text)


def diagnose_long(line: bytes) -> Finding:
    """Name what makes `line` invalid, which is longer than any row may be, and perhaps only its beginning."""
    if line.lstrip(b" \t\r").startswith(b"["):
        return Finding("too_long", f"longer than max_row_bytes, and an array, {_ONE_ARRAY}; {_FORMAT}")
    return Finding("too_long", "longer than max_row_bytes")


def duplicated_key(line: bytes) -> str:
    """Name the first key that occurs twice in `line`, which is a valid flat JSON object."""
    seen: set[str] = set()

    def pairs(items: list[tuple[str, t.Any]]) -> str:
        for key, _ in items:
            if key in seen:
                return key
            seen.add(key)
        return ""

    return str(json.loads(line, object_pairs_hook=pairs, parse_int=str, parse_float=str))


def _not_an_object(text: str) -> Finding:
    if text.lstrip(" \t\r\n").startswith("["):
        return Finding("not_object", f"the row is an array, {_ONE_ARRAY}; {_FORMAT}")
    try:
        _parse(text)
    except (ValueError, RecursionError):
        return Finding("not_json", f"the row does not begin with an object; {_FORMAT}")
    return Finding("not_object", f"the row is a single value; {_FORMAT}")


def _syntax(text: str) -> Finding:
    try:
        _parse(text)
    except _ConstantError as error:
        return Finding("not_json", f"{error} is not a JSON number")
    except json.JSONDecodeError as error:
        return _located(text, error)
    except RecursionError:
        return Finding("nested_value", "a property holds deeply nested arrays or objects")
    # Only msgspec minds it: half of a surrogate pair.
    return Finding("bad_escape", "a \\u escape is half of a surrogate pair, which is no character")


def _located(text: str, error: json.JSONDecodeError) -> Finding:
    where = f"at character {error.pos + 1}"
    if "escape" in error.msg:
        return Finding("bad_escape", f"an escape {where} is none of JSON's")
    if error.msg.startswith("Invalid control") and text[error.pos : error.pos + 1] == "\0":
        return Finding("nul_character", f"a NUL character stands {where}")
    if text.strip() == "{":
        return Finding("not_json", f"the row is a lone brace, as in pretty-printed JSON; {_FORMAT}")
    what = error.msg.removesuffix(" at").removesuffix(" starting")  # a place follows these in Python's own words
    return Finding("not_json", f"JSON ends {where}: {what}; {_FORMAT}")


def _parse(text: str) -> None:
    def constant(name: str) -> t.NoReturn:
        raise _ConstantError(name)

    json.loads(text, parse_int=str, parse_float=str, parse_constant=constant)
