"""What became of an event: the words for it, shared by who judges and who stores."""

from __future__ import annotations

import typing as t

import msgspec

Status = t.Literal["valid", "invalid", "pending"]
Reason = t.Literal[
    "bad_property_name",
    "bad_time",
    "event_too_large",
    "missing_property",
    "nested_value",
    "not_an_object",
    "repeated_property",
    "reserved_property_name",
    "time_out_of_range",
    "too_many_event_names",
    "too_many_properties",
    "unknown_event_name",
    "unreadable_number",
    "wrong_type",
]


class Problem(msgspec.Struct, frozen=True):
    """One thing that makes an event invalid: a word to count by and a sentence to read."""

    reason: Reason
    comment: str


class Verdict(msgspec.Struct, frozen=True):
    """What became of one event.

    Attributes:
        status: valid, invalid or pending.
        event_name: as the project spells it, or `None` if the event has none.
        user_id: as sent, or `None` if the event has none.
        event_time_ms: the event's time, milliseconds since 1970 UTC, or `None` if the event has none.
        settles_at_ms: when a pending event becomes valid.
        problems: why it is invalid.
    """

    status: Status
    event_name: str | None = None
    user_id: str | None = None
    event_time_ms: int | None = None
    settles_at_ms: int | None = None
    problems: tuple[Problem, ...] = ()
