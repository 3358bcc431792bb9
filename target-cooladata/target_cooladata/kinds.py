"""The types that properties are sent with.

In: the values of events as they leave. Out: which properties have changed their type within the run, because CoolaData
fixes a property's type when it first comes, and a later event with another type is invalid. What counts is the type
that is sent: a boolean is text where `boolean_format` says so, and an object is its leaves or its JSON text.
"""

from __future__ import annotations

import typing as t
from collections import Counter

from target_cooladata.names import split_scope, told_as

if t.TYPE_CHECKING:
    from target_cooladata.names import NameBook
    from target_cooladata.settings import Settings

MAX_REMEMBERED = 10_000  # properties whose type is followed; names beyond that are values
_BOOLEANS = {"string": "string", "integer": "integer", "native": "boolean"}


class Kinds:
    """The types of all properties of a run, whatever the event; shared by all streams."""

    def __init__(self) -> None:
        self.changes: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def note(self, event: str, name: str, kind: str, told: str) -> None:
        """Take in a property of an event of that name, both as they are sent, and how the property is told of."""
        if len(self._first) > MAX_REMEMBERED or len(self.changes) > MAX_REMEMBERED:
            return
        before = self._first.setdefault(name.lower(), kind)
        if before != kind and (before, kind) != ("number", "integer"):
            change = f"{told[:100]} of {event[:100]}: {before}, then {kind}"
            if change not in self.changes:
                self.changes[change] += 1


class KindWatch:
    """Knows the types that values are sent with.

    Args:
        settings: `boolean_format`, `nested_values`.
        kinds: where to note them.
        book: the names of the run.
    """

    def __init__(self, settings: Settings, kinds: Kinds, book: NameBook) -> None:
        self._note = kinds.note
        self._book = book
        self._flattens = settings.nested_values == "flatten"
        self._kinds: dict[type, str] = {
            str: "string",
            int: "integer",
            float: "number",
            bool: _BOOLEANS[settings.boolean_format],
            list: "string",
            dict: "string",
        }

    def nested(self, columns: t.Iterable[str], found: t.Mapping[str, t.Any]) -> tuple[str, ...]:
        """Say which columns are sent as their leaves, whose types a record's shape does not tell."""
        return tuple(column for column in columns if type(found[column]) is dict) if self._flattens else ()

    def note(self, event: str, columns: t.Iterable[str], found: t.Mapping[str, t.Any]) -> None:
        """Take in some columns of an event, and what is below them."""
        for column in columns:
            scope, base = split_scope(column)
            self._note_value(event, scope, base, found[column], base)

    def _note_value(self, event: str, scope: str, name: str, value: object, column: str) -> None:
        if type(value) is dict and self._flattens:
            for key, leaf in value.items():
                self._note_value(event, scope, f"{name}_{key}", leaf, column)
        elif value is not None:
            told = told_as(name, column)
            self._note(event, scope + self._book.sent(name, told), self._kinds[type(value)], scope + told)
