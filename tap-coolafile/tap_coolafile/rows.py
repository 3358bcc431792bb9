"""The rules of a row: in go the lines of a file, out come records (JSON object texts) or rejects with a reason.

Knows no storage. A row is one flat JSON object with `event_name`, `user_id` and a time; everything else in it is a
custom property and passes with the bytes it came with. One decode judges a row; where nothing must change the line
itself is the record, otherwise it is put together again from its own values. Rows of one shape (the same names with
the same types, in the same order) share most of the judgement, which is kept by shape.
"""

from __future__ import annotations

import typing as t

import msgspec

from tap_coolafile.diagnosis import Finding, diagnose, diagnose_long, duplicated_key
from tap_coolafile.form import Form
from tap_coolafile.report import as_words
from tap_coolafile.times import TIME_KEYS, Clock, NotATimeError
from tap_coolafile.typed import WrongTypeError, conversion_for, fits

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

METADATA_KEYS = ("_sdc_source_file", "_sdc_source_lineno", "_sdc_source_file_mtime")

_INT64 = t.Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_FLAT = msgspec.json.Decoder(dict[str, str | _INT64 | float | bool | None])
_RAW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_MANDATORY = frozenset({"event_name", "user_id", TIME_KEYS[0]})
_KINDS: t.Final = {type(None): "null", str: "string", int: "integer", float: "number", bool: "boolean"}

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


def overview(found: t.Iterable[tuple[int, t.Sequence[Reject]]]) -> str:
    """Tell the most frequent reasons of some rejects, and what is wrong with the first; nothing of what the rows hold.

    Args:
        found: how many lines precede some lines of a file, and the rejects among these, in order.
    """
    reasons: dict[str, int] = {}
    first = ""
    for before, rejects in found:
        for reject in rejects:
            reasons[reject.reason] = reasons.get(reject.reason, 0) + 1
            first = first or f"; line {before + reject.index + 1}: {in_words(reject)}"
    return f", most often: {as_words(reasons)}{first}" if reasons else ""


def in_words(reject: Reject) -> str:
    """Tell what is wrong with a row for logs and report, so with nothing of what it holds."""
    return REASONS[reject.reason] if reject.reason == "duplicate_key" else reject.detail  # which quotes a name


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
        self._kinds: dict[str, set[str]] = {}
        self._form: Form | None = None

    def judge(self, lines: t.Sequence[bytes], text: bytes | None = None) -> Judged:
        """Judge `lines`, each without its line feed; `text` is, or holds, all of them with their line feeds."""
        text = b"\n".join(lines) if text is None else text
        judged = Judged([])
        if b"\r" in text:
            # One that is longer may be a beginning only: what is at its end is not at the end of the row.
            longest = self.rules.max_row_bytes + 1
            lines = [line.rstrip(b"\r") if len(line) <= longest else line for line in lines]
        long = max(map(len, lines), default=0) > self.rules.max_row_bytes
        unusual = self._unusual if long or b"\\" in text or b"\r" in text else None
        if self._form is None:
            self._form = self._compiled()
        self._form.fill(lines, judged.records, lambda line: self._weighed(line, judged), unusual)
        return judged

    def forget(self) -> None:
        """Announce everything anew, as rows of a file that turned out bad do not count."""
        self._kinds, self._form = {}, None

    def _compiled(self) -> Form:
        """Make a form of the properties and kinds seen so far, save those that want converting or replacing."""
        declared = self.rules.property_types
        reserved = METADATA_KEYS if self.rules.add_metadata_columns else ()
        kinds = {
            name: {kind for kind in found if name not in declared or kind == "empty" or fits(declared[name], kind)}
            for name, found in self._kinds.items()
            if name not in reserved and name not in TIME_KEYS
        }
        time_keys = self._kinds.keys() & set(TIME_KEYS)
        return Form(kinds, time_keys, clock=self._clock, empty_as_null=self.rules.empty_as_null)

    def _unusual(self, line: bytes) -> bool:
        return b"\\" in line or b"\r" in line or len(line) > self.rules.max_row_bytes

    def _weighed(self, line: bytes, judged: Judged) -> bytes | None:
        """Judge a line by every rule, one after the other, and make its record: the long way of `Form.fill`."""
        try:
            row = self._decoded(line)
            if row is None:
                judged.blank += 1
                return None
            out = self._event(line, row)
        except _InvalidError as invalid:
            finding = invalid.finding
            judged.rejects.append(Reject(len(judged.records), finding.reason, finding.detail))
            return None
        self._learn(row, out)
        # A carriage return between two tokens would end the line for readers in text mode.
        if out is row and b"\r" not in line:
            return line
        return self._rebuilt(line, row, out)

    def _decoded(self, line: bytes) -> Row | None:
        """Decode a line that may be anything; None if it is blank."""
        if len(line) > self.rules.max_row_bytes:
            raise _InvalidError(diagnose_long(line))
        try:
            row: Row = _FLAT.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            if not line.strip(b" \t\r"):
                return None
            raise _InvalidError(diagnose(line, error)) from None
        unescaped = line
        if b"\\" in line:
            unescaped = line.replace(b"\\\\", b"").replace(b'\\"', b"")
            if b"u0000" in line and any("\0" in name or "\0" in str(value) for name, value in row.items()):
                raise _InvalidError(Finding("nul_character", "the row holds the escape of a NUL character"))
        if unescaped.count(b'"') != 2 * (len(row) + sum(type(value) is str for value in row.values())):
            raise _InvalidError(Finding("duplicate_key", f"the property {duplicated_key(line)!r} occurs twice"))
        return row

    def _event(self, line: bytes, row: Row) -> Row:
        """Return `row` itself if it can pass as it is, else a new row of what is to be emitted."""
        hidden = (None, "") if self.rules.empty_as_null else (None,)
        out = {name: value for name, value in row.items() if value not in hidden}
        if self.rules.add_metadata_columns and not out.keys().isdisjoint(METADATA_KEYS):
            self.notices.metadata_replaced += 1
            out = {name: value for name, value in out.items() if name not in METADATA_KEYS}
        self._name(out, "event_name")
        self._name(out, "user_id")
        out = self._with_time(out)
        self._convert(line, out)
        return row if len(out) == len(row) and all(out[name] is row.get(name) for name in out) else out

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

    def _convert(self, line: bytes, out: Row) -> None:
        """Give values the types that `property_types` declares."""
        for name, declared in self.rules.property_types.items():
            conversion = conversion_for(declared, out.get(name))
            if conversion is None:
                continue
            try:
                out[name] = msgspec.Raw(conversion(bytes(_RAW.decode(line)[name])))
            except WrongTypeError as error:
                finding = Finding("wrong_type", f"{name} is {error}, declared {declared} by property_types")
                raise _InvalidError(finding) from None

    def _rebuilt(self, line: bytes, row: Row, out: Row) -> bytes:
        """Write `out` as JSON; values that were not changed keep the bytes they have in `line`."""
        raw = _RAW.decode(line)
        return _encode({name: raw[name] if value is row.get(name) else value for name, value in out.items()})

    def _learn(self, row: Row, out: Row) -> None:
        """Announce what was not seen before, and let the form be compiled anew for it."""
        for name, value in row.items():
            if name in _MANDATORY:
                continue
            known = self._kinds.get(name)
            if known is None:
                self._form = None
                known = self._kinds[name] = set()
            kind = _KINDS[type(value)]
            if name not in out:
                kind = "empty"
            if kind in known:
                continue
            self._form = None
            known.add(kind)
            if kind != "empty":
                self._announce(name, self.rules.property_types.get(name, kind))
