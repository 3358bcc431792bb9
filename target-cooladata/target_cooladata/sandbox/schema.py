"""What a project has learned: its event names and the type of each of its properties.

In: names and values of valid events. Out: what is known about a name, however it is spelled (CoolaData's names are
case-insensitive), and the newly learned entries, for the store to keep. Refuses nothing: `validity` does.
"""

from __future__ import annotations

import re
import typing as t

import msgspec

Scope = t.Literal["event", "session", "user"]
Type = t.Literal["string", "integer", "float"]

_PREFIXES: dict[str, Scope] = {"{u}": "user", "{s}": "session"}
_WELL_FORMED = re.compile(r"(?:\{[us]\})?[A-Za-z][A-Za-z0-9_]*")

RESERVED = frozenset(
    {
        "internal_user_id",
        "internal_session_id",
        "user_alias",
        "session_clean_path",
        "session_duration",
        "session_end_time_ts",
        "session_events_counter",
        "session_full_category_path",
        "session_full_clean_category_path",
        "session_full_clean_path",
        "session_full_path",
        "session_funnel_path",
        "session_serial_event_counter",
        "uid",
        "sid",
    }
)
"""CoolaData properties page: names a property may not have."""

CQL_WORDS = frozenset(
    {"select", "from", "where", "as", "null", "and", "between", "join", "left", "outer", "inner", "on"}
)
"""CoolaData properties page: examples of the query language's words, which may not be property names."""


class EventName(msgspec.Struct, frozen=True):
    """An event name, known in lower case, shown as first spelled."""

    name: str
    spelling: str
    first_seen_ms: int


class Property(msgspec.Struct, frozen=True):
    """A property, known by its name in lower case without a scope prefix."""

    name: str
    type: Type
    scope: Scope
    first_seen_ms: int


class Spelling(msgspec.Struct, frozen=True):
    """A key of some event's JSON, and the name of the property it stands for."""

    key: str
    name: str


Learned = EventName | Property | Spelling


def split_key(key: str) -> tuple[str, Scope]:
    """Return the property's name (lower case, prefix removed) and the scope its prefix asks for.

    `{u}` is documented for user scope, `{s}` was seen in a vendor's demo for session scope. That a prefix is no part of
    the stored name is inferred: names must begin with a letter.
    """
    scope = _PREFIXES.get(key[:3])
    return (key[3:].lower(), scope) if scope else (key.lower(), "event")


def is_well_formed(key: str) -> bool:
    """Say whether a key, but for a scope prefix, is a letter and then letters, digits and _ (documented)."""
    return _WELL_FORMED.fullmatch(key) is not None


class Schema:
    """The names and types learned so far, in memory; `unsaved` holds what the store does not have yet."""

    def __init__(self, learned: t.Iterable[Learned] = ()) -> None:
        """Start from what a store had kept."""
        self.event_names: dict[str, EventName] = {}
        self.properties: dict[str, Property] = {}
        self.names_by_key: dict[str, str] = {}
        self.unsaved: list[Learned] = []
        for entry in learned:
            self._remember(entry)

    def learn(self, entry: Learned) -> None:
        """Remember an entry now and have the store keep it with the event that taught it."""
        self._remember(entry)
        self.unsaved.append(entry)

    def _remember(self, entry: Learned) -> None:
        match entry:
            case EventName():
                self.event_names[entry.name] = entry
            case Property():
                self.properties[entry.name] = entry
            case Spelling():
                self.names_by_key[entry.key] = entry.name
