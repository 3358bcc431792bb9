"""The rules of a row: in go the lines of a file, out come records (JSON object texts) or rejects with a reason.

Knows no storage. A row is one flat JSON object with `event_name`, `user_id` and a time; everything else in it is a
custom property and passes with the bytes it came with. One decode judges a row; where nothing must change the line
itself is the record, otherwise it is put together again from its own values. Rows of one shape (the same names with
the same types, in the same order) share most of the judgement, which is kept by shape.
"""

from __future__ import annotations

import typing as t

import msgspec

from tap_coolafile.diagnosis import Finding, diagnose, duplicated_key
from tap_coolafile.times import MAX_MS, MIN_MS, Clock, NotATimeError
from tap_coolafile.typed import Conversion, WrongTypeError, conversion_for

REASONS: t.Final[dict[str, str]] = {
    "not_utf8": "the row is not UTF-8 text",
    "not_json": "the row is not valid JSON",
    "not_object": "the row is valid JSON but not an object",
    "nested_value": "a property holds an object or an array; rows must be flat",
    "missing_event_name": "event_name is absent, null or empty",
    "missing_user_id": "user_id is absent, null or empty",
    "missing_time": "event_time_ts, event_timestamp_epoch and event_timestamp are absent, null or empty",
    "bad_event_name": "event_name is neither a string nor an integer",
    "bad_user_id": "user_id is neither a string nor an integer",
    "bad_time": "the time is in no accepted spelling; 13 digits of milliseconds, or YYYY-MM-DD HH:MM:SS, are",
    "time_in_seconds": "the time is a 10-digit number, which is seconds; 13 digits of milliseconds are expected",
    "duplicate_key": "a property occurs twice in the row",
    "number_out_of_range": "a number fits neither a 64-bit integer nor a double",
    "nul_character": "a text holds a NUL character, which databases refuse",
    "bad_escape": "an escape is not one of JSON's, or half of a surrogate pair",
    "too_long": "the row is longer than max_row_bytes",
    "wrong_type": "a value does not fit the type that property_types gives its property",
}
"""Every reason for which a row is refused, with the sentence a user reads."""

TIME_KEYS = ("event_time_ts", "event_timestamp_epoch", "event_timestamp")
"""Spellings of the time in files and REST calls, first wins; `event_time_ts` is the one emitted."""

METADATA_KEYS = ("_sdc_source_file", "_sdc_source_lineno", "_sdc_source_file_mtime")

_INT64 = t.Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_FLAT = msgspec.json.Decoder(dict[str, str | _INT64 | float | bool | None])
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_MAX_SHAPES = 20_000
_NEVER = -1
_KINDS: t.Final = {str: "string", int: "integer", float: "number", bool: "boolean"}

Row = dict[str, t.Any]
"""A decoded row: each value a str, int, float, bool, None, or the msgspec.Raw text of one."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that bear on a row, named as in settings.py."""

    time_zone: str = "UTC"
    empty_as_null: bool = True
    max_row_bytes: int = 100_000
    property_types: dict[str, str] = {}
    add_metadata_columns: bool = False


class Reject(msgspec.Struct, frozen=True):
    """Line number `index` (from 0, within the lines judged) broke the rule `reason`."""

    index: int
    reason: str
    detail: str


class Judged(msgspec.Struct):
    """What came of some lines: `records[i]` is the record of line i, or None for a blank line or a reject."""

    records: list[bytes | None]
    rejects: list[Reject] = []
    blank: int = 0


class Notices(msgspec.Struct):
    """Counts of rows that were accepted although something about them deserves a word."""

    integers_as_text: int = 0
    times_disagreeing: int = 0
    metadata_replaced: int = 0


class _Shape(msgspec.Struct):
    """Names and types of a row, in order, and what follows from them alone.

    `quotes` is the number of quotation marks of such a row if no key occurs twice. `spliced` is the same number once
    a row of this shape is known to need no change, else one that no row has.
    """

    quotes: int
    spliced: int
    plain: bool
    floats: bool
    conversions: dict[str, Conversion]


class _InvalidError(Exception):
    """The row breaks a rule."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.reason)
        self.finding = finding


class Judge:
    """Judges lines by `rules`, and announces each property and type before a record that needs them is returned.

    `announce(name, kind)` is called once for each property and kind: `string`, `integer`, `number` or `boolean`.
    """

    def __init__(self, rules: Rules, announce: t.Callable[[str, str], object]) -> None:
        self.rules = rules
        self.notices = Notices()
        self._announce = announce
        self._clock = Clock(rules.time_zone)
        self._shapes: dict[tuple[t.Any, ...], _Shape] = {}
        self._announced: set[tuple[t.Any, ...]] = set()
        self._known: set[tuple[str, str]] = set()

    def judge(self, lines: t.Sequence[bytes]) -> Judged:
        """Judge `lines`, each without its line feed.

        The hot loop of the tap: a row of a known shape, without escapes and empty texts, costs one decode, one
        look-up, one count of quotation marks and one comparison.
        """
        lines, suspect = self._prepared(lines)
        judged = Judged([])
        append, shape_of, decode = judged.records.append, self._shapes.get, _FLAT.decode
        for line in lines:
            try:
                row: Row = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                self._refused(line, error, judged)
                append(None)
                continue
            shape = shape_of((*row, *map(type, row.values())))
            if (
                shape is not None
                and line.count(b'"') == shape.spliced
                and MIN_MS <= row["event_time_ts"] <= MAX_MS
                and not (suspect and self._suspect(line))
            ):
                append(line)
            else:
                append(self._weighed(line, row, shape, judged))
        return judged

    def _prepared(self, lines: t.Sequence[bytes]) -> tuple[t.Sequence[bytes], bool]:
        """Cut carriage returns; tell whether any line wants a closer look before it may pass as it is."""
        text = b"".join(lines)
        if b"\r" in text:
            lines = [line.rstrip(b"\r") for line in lines]
        long = max(map(len, lines), default=0) > self.rules.max_row_bytes
        return lines, long or b"\\" in text or b'""' in text or b"\r" in text

    def _suspect(self, line: bytes) -> bool:
        return b"\\" in line or b'""' in line or b"\r" in line or len(line) > self.rules.max_row_bytes

    def _refused(self, line: bytes, error: Exception, judged: Judged) -> None:
        """Count a blank line, or reject one that the decoder refused."""
        if not line.strip(b" \t\r"):
            judged.blank += 1
        elif len(line) > self.rules.max_row_bytes:
            self._reject(judged, self._too_long(line))
        else:
            self._reject(judged, diagnose(line, error))

    def _too_long(self, line: bytes) -> Finding:
        return Finding("too_long", f"{len(line)} bytes; max_row_bytes allows {self.rules.max_row_bytes}")

    def _reject(self, judged: Judged, finding: Finding) -> None:
        judged.rejects.append(Reject(len(judged.records), finding.reason, finding.detail))

    def _weighed(self, line: bytes, row: Row, shape: _Shape | None, judged: Judged) -> bytes | None:
        """Judge a decoded row by every rule and make its record: the long way of `judge`."""
        if shape is None:
            shape = self._new_shape(row)
        try:
            self._readable(line, row, shape)
            out = self._event(line, row, shape)
        except _InvalidError as invalid:
            self._reject(judged, invalid.finding)
            return None
        if out is row:
            self._announce_all(row)
            shape.spliced = shape.quotes
            # A carriage return between two tokens would end the line for readers in text mode.
            return line if b"\r" not in line else _encode(_RAW.decode(line))
        return self._rebuilt(line, row, out, shape)

    def _new_shape(self, row: Row) -> _Shape:
        if len(self._shapes) >= _MAX_SHAPES:
            self._shapes.clear()
        kinds = tuple(map(type, row.values()))
        declared = self.rules.property_types
        conversions = {name: c for name in declared if (c := conversion_for(declared[name], row.get(name)))}
        shape = _Shape(
            quotes=2 * (len(row) + kinds.count(str)),
            spliced=_NEVER,
            plain=not conversions and None not in row.values() and self._has_plain_keys(row),
            floats=float in kinds,
            conversions=conversions,
        )
        self._shapes[(*row, *kinds)] = shape
        return shape

    def _has_plain_keys(self, row: Row) -> bool:
        if self.rules.add_metadata_columns and not row.keys().isdisjoint(METADATA_KEYS):
            return False
        return (
            type(row.get("event_name")) is str
            and type(row.get("user_id")) is str
            and type(row.get("event_time_ts")) is int
            and TIME_KEYS[1] not in row
            and TIME_KEYS[2] not in row
        )

    def _readable(self, line: bytes, row: Row, shape: _Shape) -> None:
        """Refuse what the decoder lets pass: long rows, NUL escapes, keys that occur twice."""
        if len(line) > self.rules.max_row_bytes:
            raise _InvalidError(self._too_long(line))
        unescaped = line
        if b"\\" in line:
            unescaped = line.replace(b"\\\\", b"").replace(b'\\"', b"")
            if b"u0000" in line and any("\0" in name or "\0" in str(value) for name, value in row.items()):
                raise _InvalidError(Finding("nul_character", "the row holds the escape of a NUL character"))
        if unescaped.count(b'"') != shape.quotes:
            raise _InvalidError(Finding("duplicate_key", f"the property {duplicated_key(line)!r} occurs twice"))

    def _event(self, line: bytes, row: Row, shape: _Shape) -> Row:
        """Return `row` itself if it can pass as it is, else a new row of what is to be emitted."""
        empty = b'""' in line and "" in row.values()
        if shape.plain and not (empty and (self.rules.empty_as_null or "" in {row["event_name"], row["user_id"]})):
            self._time(row["event_time_ts"])
            return row
        hidden = (None, "") if self.rules.empty_as_null else (None,)
        out = {name: value for name, value in row.items() if value not in hidden}
        if self.rules.add_metadata_columns and not out.keys().isdisjoint(METADATA_KEYS):
            self.notices.metadata_replaced += 1
            for name in METADATA_KEYS:
                out.pop(name, None)
        self._name(out, "event_name")
        self._name(out, "user_id")
        out = self._with_time(out)
        if shape.conversions:
            self._convert(line, out, shape)
        return out

    def _name(self, out: Row, key: str) -> None:
        """Require a non-empty text; an integer becomes its digits, as CoolaData's mandatory fields are strings."""
        value = out.get(key)
        if type(value) is int:
            out[key] = str(value)
            self.notices.integers_as_text += 1
        elif value is None or value == "":
            raise _InvalidError(Finding(f"missing_{key}", f"{key} is absent, null or empty"))
        elif type(value) is not str:
            raise _InvalidError(Finding(f"bad_{key}", f"{key} is a {_KINDS[type(value)]}"))

    def _with_time(self, out: Row) -> Row:
        """Put the time, in ms, under `event_time_ts` where its first spelling stood, and drop the others."""
        spellings = [name for name in TIME_KEYS if out.get(name, "") != ""]
        if not spellings:
            raise _InvalidError(Finding("missing_time", "none of " + ", ".join(TIME_KEYS) + " holds a value"))
        ms = self._time(out[spellings[0]])
        for other in spellings[1:]:
            if self._disagrees(out[other], ms):
                self.notices.times_disagreeing += 1
                break
        chosen, dropped = spellings[0], [name for name in TIME_KEYS if name != spellings[0] and name in out]
        if chosen == TIME_KEYS[0] and not dropped:
            out[chosen] = ms
            return out
        return {
            (TIME_KEYS[0] if name == chosen else name): (ms if name == chosen else value)
            for name, value in out.items()
            if name not in dropped
        }

    def _time(self, value: t.Any) -> int:
        try:
            return self._clock.read(value)
        except NotATimeError as error:
            reason = "time_in_seconds" if error.seconds else "bad_time"
            raise _InvalidError(Finding(reason, f"the time is a {_KINDS[type(value)]}")) from None

    def _disagrees(self, value: t.Any, ms: int) -> bool:
        try:
            return self._clock.read(value) != ms
        except NotATimeError:
            return True

    def _convert(self, line: bytes, out: Row, shape: _Shape) -> None:
        raw = _RAW.decode(line)
        for name, conversion in shape.conversions.items():
            if name not in out:
                continue
            try:
                out[name] = msgspec.Raw(conversion(bytes(raw[name])))
            except WrongTypeError as error:
                kind = self.rules.property_types[name]
                raise _InvalidError(
                    Finding("wrong_type", f"{name} is {error}, declared {kind} by property_types")
                ) from None

    def _rebuilt(self, line: bytes, row: Row, out: Row, shape: _Shape) -> bytes:
        """Write `out` as JSON; values that were not changed keep the bytes they had in `line`."""
        self._announce_all(out)
        if shape.floats or b"\\" in line or b"-0" in line:
            # Their text is not always what encoding them again gives: 1E5, -0, an escaped slash.
            raw = _RAW.decode(line)
            out = {name: raw[name] if value is row.get(name) else value for name, value in out.items()}
        return _encode(out)

    def _announce_all(self, out: Row) -> None:
        """Announce what was not seen before; `out` holds no nulls."""
        key = (*out, *map(type, out.values()))
        if key in self._announced:
            return
        if len(self._announced) >= _MAX_SHAPES:
            self._announced.clear()
        self._announced.add(key)
        for name, value in out.items():
            kind = self.rules.property_types.get(name) or _KINDS[type(value)]
            if (name, kind) not in self._known:
                self._known.add((name, kind))
                self._announce(name, kind)
