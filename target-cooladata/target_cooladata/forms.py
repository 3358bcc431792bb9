"""The quick way to judge a record: a structure compiled from the records seen so far.

In: columns and values of records that are events already, but for the name of their time. Out: a decoder that takes a
record as bytes and refuses every one that is not the like: another column, another type, a null, an empty name or
user, a time that is not in milliseconds, an integer beyond 64 bits. What it refuses is not refused for that, only
judged the long way, which costs three times as much.
"""

from __future__ import annotations

import typing as t

import msgspec

from target_cooladata import names, times

MAX_COLUMNS = 500  # a stream with more has names that are values; it takes the long way

_Text = t.Annotated[str, msgspec.Meta(min_length=1)]
_Time = t.Annotated[int, msgspec.Meta(ge=times.MIN_MILLISECONDS, le=times.MAX_MILLISECONDS)]
_Integer = t.Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_TYPES: dict[type, t.Any] = {str: str, int: _Integer, float: _Integer | float}


class Seen(t.Protocol):
    """What the decoder gives."""

    event_time_ts: int


class Form:
    """Learns the columns of one stream."""

    def __init__(self) -> None:
        self._columns: dict[str, type] = {}
        self._spellings: dict[str, str] = {}
        self.decode: t.Callable[[bytes], Seen] | None = None

    def learn(self, columns: t.Iterable[str], found: t.Mapping[str, t.Any]) -> None:
        """Take in a record whose columns may all be sent as they are."""
        before = dict(self._columns)
        for column in columns:
            kind = type(found[column])
            known = self._columns.get(column)
            # Two spellings or scopes of one name could stand in one record, which is for the long way to sort out.
            spelling = names.split_scope(column)[1].lower()
            if len(self._columns) >= MAX_COLUMNS or self._spellings.setdefault(spelling, column) != column:
                continue
            if known is None or {known, kind} == {int, float}:
                self._columns[column] = kind if known is None else float
        if self.decode is None or before != self._columns:
            self.decode = msgspec.json.Decoder(self._compiled()).decode

    def _compiled(self) -> type[t.Any]:
        fields: list[t.Any] = [("event_name", _Text), ("user_id", _Text), ("event_time_ts", _Time)]
        columns = {}
        for number, (column, kind) in enumerate(self._columns.items()):
            columns[f"c{number}"] = column
            fields.append((f"c{number}", _TYPES[kind] | msgspec.UnsetType, msgspec.UNSET))
        return msgspec.defstruct("Seen", fields, rename=columns, forbid_unknown_fields=True, gc=False)
