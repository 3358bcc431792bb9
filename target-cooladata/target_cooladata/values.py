"""The values of a record, flat and in JSON, as CoolaData takes them.

In: a record as JSON bytes and which of its properties to send. Out: an event as JSON bytes, every number and string
byte for byte as it came. Booleans, objects, arrays and names follow the settings. Refused: integers beyond 64 bits, and
what the settings refuse.
"""

from __future__ import annotations

import typing as t

import msgspec

from target_cooladata import names
from target_cooladata.exceptions import Rejected

if t.TYPE_CHECKING:
    from target_cooladata.settings import Settings

INT64 = range(-(2**63), 2**63)

_INT64_DIGITS = 19
_BOOLEANS = {
    "string": {b"true": b'"true"', b"false": b'"false"'},
    "integer": {b"true": b"1", b"false": b"0"},
    "native": {b"true": b"true", b"false": b"false"},
}
_raws = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class PropertyWriter:
    """Writes events whose properties need a change.

    Args:
        settings: `nested_values`, `property_names`, `boolean_format`, and the properties that are added to every event.
        scopes: prefix to add, by property.
        book: the names of the run.
    """

    def __init__(self, settings: Settings, *, scopes: dict[str, str], book: names.NameBook) -> None:
        self._nested = settings.nested_values
        self._rejects_names = settings.property_names == "reject"
        self._booleans = _BOOLEANS[settings.boolean_format]
        self._scopes = scopes
        self._book = book
        added = (settings.run_id_property, settings.event_id_property)
        self._taken = frozenset(name.lower() for name in added if name)

    def keeps_names(self, columns: t.Iterable[str]) -> bool:
        """Whether all these properties are sent under their own names."""
        seen = set(self._taken)
        for column in columns:
            scope, name = names.split_scope(column)
            if not names.is_allowed(name) or name.lower() in seen or self._scopes.get(column, scope) != scope:
                return False
            seen.add(name.lower())
        return True

    def write(self, record: bytes, columns: t.Iterable[str], name: str, user: str, moment: int | None) -> bytes:
        """Write one event.

        Args:
            record: a JSON object.
            columns: which properties to send.
            name: the event's name.
            user: the user's id.
            moment: the event's time in milliseconds, if it has one.

        Raises:
            Rejected: what cannot be sent.
        """
        raws = _raws(record)
        parts = [b'"event_name":' + _encode(name), b'"user_id":' + _encode(user)]
        if moment is not None:
            parts.append(b'"event_timestamp_epoch":%d' % moment)
        used = set(self._taken)
        for column in columns:
            scope, base = names.split_scope(column)
            self._append(parts, used, self._scopes.get(column, scope), base, bytes(raws[column]), base)
        return b"{" + b",".join(parts) + b"}"

    def _append(  # noqa: PLR0913, PLR0917 - it calls itself for every leaf
        self, parts: list[bytes], used: set[str], scope: str, name: str, raw: bytes, column: str
    ) -> None:
        first = raw[:1]
        if first == b"n":
            return
        if first in (b"{", b"["):
            if self._nested == "reject":
                reason = "nested_value"
                detail = f"{name!r} is an {'object' if first == b'{' else 'array'}; `nested_values` can flatten it"
                raise Rejected(reason, detail)
            if first == b"{" and self._nested == "flatten":
                for key, value in _raws(raw).items():
                    self._append(parts, used, scope, f"{name}_{key}", bytes(value), column)
                return
            raw = _encode(raw.decode())
        elif first in (b"t", b"f"):
            raw = self._booleans[raw]
        elif first != b'"':
            _check_number(name, raw)
        parts.append(_encode(scope + self._free_name(name, used, names.told_as(name, column))) + b":" + raw)

    def _free_name(self, name: str, used: set[str], told: str) -> str:
        if self._rejects_names and not names.is_allowed(name):
            reason = "bad_property_name"
            allowed = "a letter first, then letters, digits and underscores, and none of its own words"
            detail = f"CoolaData takes no property named {name!r}, but {allowed}; `property_names` can mend it"
            raise Rejected(reason, detail)
        allowed = free = self._book.sent(name, told)
        if free.lower() in used and not names.is_allowed(name) and not self._rejects_names:
            allowed = free = self._book.set_apart(name, told)
        number = 1
        while free.lower() in used:
            if self._rejects_names:
                reason = "name_collision"
                detail = f"{name!r} is another property's name too, case and scope aside; `property_names` can mend it"
                raise Rejected(reason, detail)
            number += 1
            free = f"{allowed}_{number}"
        used.add(free.lower())
        return free


def check_integer(name: str, value: int) -> None:
    """Refuse an integer that does not fit into 64 bits.

    Raises:
        Rejected: `number_out_of_range`.
    """
    if value not in INT64:
        reason, detail = "number_out_of_range", f"{name!r} is an integer beyond 64 bits"
        raise Rejected(reason, detail)


def _check_number(name: str, raw: bytes) -> None:
    if len(raw) >= _INT64_DIGITS and raw.lstrip(b"-").isdigit():
        check_integer(name, int(raw[:64]))
