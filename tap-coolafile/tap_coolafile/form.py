"""The quick way of judging: in goes a line, out comes its record at once if the row is of the form learned so far.

A form is compiled from the properties and types seen: a msgspec structure whose decoding alone checks syntax, UTF-8,
flatness, names, types and the ranges of numbers. What decoding does not tell, a key that occurs twice, the number of
quotation marks does. A row that fits passes as it stands, or is written again from the structure where a null or empty
text is to go or the time is a text. Any other row is left to `rows.Judge`, which judges by every rule and gives the
same record where both give one.
"""

from __future__ import annotations

import typing as t

import msgspec
from msgspec import UNSET, UnsetType

from tap_coolafile.times import MAX_MS, MIN_MS, TIME_KEYS, Clock, NotATimeError

MAX_FIELDS = 400
"""Properties of a form: decoding a row costs a little for each of them, also for those it does not hold."""

_INT64 = t.Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_FILLED = t.Annotated[str, msgspec.Meta(min_length=1)]
_TYPES: t.Final[dict[str, t.Any]] = {"integer": _INT64, "number": float, "boolean": bool}
_TIME = t.Annotated[int, msgspec.Meta(ge=MIN_MS, le=MAX_MS)] | str | None
_MAX_PLANS = 20_000
_encode = msgspec.json.Encoder().encode
_values = msgspec.structs.astuple


class _Plan(msgspec.Struct):
    """What follows from the types of a row's values alone.

    `quotes` is the number of quotation marks of such a row; `spliced` the same if it can pass as it stands, else -1.
    `time` is the index of its one time, -1 if it has none or several. `nulls` are the fields that hold null,
    `integers` the indexes of custom integers, `texts` of texts that may be empty and would then be left out.
    """

    quotes: int
    spliced: int
    time: int
    floats: bool
    nulls: tuple[str, ...]
    integers: tuple[int, ...]
    texts: tuple[int, ...]


class Form:
    """Rows with the mandatory properties, any of the custom ones in `kinds`, and a time under one of `time_keys`.

    `kinds` is as in `{"qty": {"string"}, "price": {"integer", "number"}, "ip": {"empty"}}`: what may be met under each
    name. `empty` is an empty text or null that is to be left out.
    """

    def __init__(
        self, kinds: t.Mapping[str, set[str]], time_keys: t.AbstractSet[str], *, clock: Clock, empty_as_null: bool
    ) -> None:
        """Compile the form; rows with a property that a structure cannot carry, or without a kind, will not fit."""
        custom = [name for name in kinds if kinds[name] and _can_carry(name)][:MAX_FIELDS]
        others = [key for key in TIME_KEYS[1:] if key in time_keys]
        self._names = ["event_name", "user_id", *custom, *others, TIME_KEYS[0]]
        self._fields = [f"f{index}" for index in range(len(self._names))]
        self._custom = 2 + len(custom)
        self._clock = clock
        self._plans: dict[tuple[type, ...], _Plan] = {}
        self._may_be_empty = [index for index, name in enumerate(custom, 2) if empty_as_null and "empty" in kinds[name]]
        filled = [kinds[name] - {"empty"} for name in custom]
        uniform = not others and all("string" not in kind or len(kind) == 1 for kind in filled)
        # A row that holds every property, none of them empty, zero or false, has this many quotation marks.
        self._full = 2 * (len(self._names) + 2 + filled.count({"string"})) if uniform else -1
        types = [
            _FILLED,
            _FILLED,
            *(_union(kinds[name], empty_as_null=empty_as_null) for name in custom),
            *([_TIME] * (len(others) + 1)),
        ]
        self._decode = msgspec.json.Decoder(self._structure(types)).decode
        self._decode_raw = msgspec.json.Decoder(self._structure([msgspec.Raw] * len(types))).decode

    def fill(
        self,
        lines: t.Sequence[bytes],
        records: list[bytes | None],
        other: t.Callable[[bytes], bytes | None],
        unusual: t.Callable[[bytes], bool] | None,
    ) -> None:
        """Append the record of each line to `records`; `other` makes it where the form does not fit.

        The hot loop of the tap. `unusual` tells of lines with a backslash or carriage return, or longer than allowed;
        None says there are none.
        """
        append, decode, values, plan_of = records.append, self._decode, _values, self._plans.get
        full = self._full
        for line in lines:
            if unusual is not None and unusual(line):
                append(other(line))
                continue
            try:
                row = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                append(other(line))
                continue
            held = values(row)
            quotes = line.count(b'"')
            if quotes == full and all(held) and type(held[-1]) is int:
                append(line)
                continue
            plan = plan_of(tuple(map(type, held))) or self._plan(held)
            if quotes == plan.spliced and all([held[index] for index in plan.texts]):  # noqa: C419 - a list takes half the time
                append(line)
            elif quotes == plan.quotes and plan.time >= 0 and (record := self._again(line, row, held, plan)):
                append(record)
            else:
                append(other(line))

    def _plan(self, held: tuple[t.Any, ...]) -> _Plan:
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        members = len(held) - held.count(UNSET)
        quotes = 2 * (members + sum(type(value) is str for value in held))
        times = [index for index in range(self._custom, len(held)) if held[index] not in {UNSET, None}]
        whole = UNSET not in held[:2] and len(times) == 1
        plain = whole and type(held[-1]) is int and None not in held
        plan = _Plan(
            quotes=quotes,
            spliced=quotes if plain else -1,
            time=times[0] if whole else -1,
            floats=any(type(value) is float for value in held),
            nulls=tuple(field for field, value in zip(self._fields, held, strict=True) if value is None),
            integers=tuple(index for index in range(2, self._custom) if type(held[index]) is int),
            texts=tuple(index for index in self._may_be_empty if type(held[index]) is str),
        )
        self._plans[tuple(map(type, held))] = plan
        return plan

    def _again(self, line: bytes, row: t.Any, held: tuple[t.Any, ...], plan: _Plan) -> bytes | None:
        """Write a row again without its nulls and empty texts, its time in ms; None if its time is not readable."""
        time = held[plan.time]
        ms = self._clock.known(time) if type(time) is str else time
        if ms is None:
            try:
                ms = self._clock.read(time)
            except NotATimeError:
                return None
        if plan.floats or not all([held[index] for index in plan.integers]):  # noqa: C419 - as above
            # Encoding a number again does not always give its own text: 1E5, 1.50, -0.
            row = self._decode_raw(line)
        for field in plan.nulls:
            setattr(row, field, UNSET)
        for index in plan.texts:
            if not held[index]:
                setattr(row, self._fields[index], UNSET)
        setattr(row, self._fields[plan.time], UNSET)
        setattr(row, self._fields[-1], ms)
        return _encode(row)

    def _structure(self, types: t.Sequence[t.Any]) -> type[msgspec.Struct]:
        fields = [(field, t.Union[kind, UnsetType], UNSET) for field, kind in zip(self._fields, types, strict=True)]  # noqa: UP007 - `|` does not take msgspec.Raw
        names = dict(zip(self._fields, self._names, strict=True))
        return msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, gc=False)


def _can_carry(name: str) -> bool:
    """Tell whether msgspec allows the name: it takes neither quotation marks nor backslashes nor control characters."""
    return '"' not in name and "\\" not in name and name.isprintable()


def _union(kinds: set[str], *, empty_as_null: bool) -> t.Any:
    """Build the type of a property; a kind not met so far does not fit, and so is announced the long way."""
    # A float alone would take an integer too large for 64 bits.
    found = [_TYPES[kind] for kind in sorted(kinds | {"integer"} if "number" in kinds else kinds) if kind in _TYPES]
    if "string" in kinds:
        found.append(str if "empty" in kinds or not empty_as_null else _FILLED)
    elif "empty" in kinds and empty_as_null:
        found.append(t.Literal[""])
    return t.Union[(*found, None)] if "empty" in kinds else t.Union[tuple(found)]  # noqa: UP007 - made of a list
