"""CoolaData's verdict on an event: valid, invalid or pending, with the reason.

In: an event as received and the clock. Out: a `Verdict`; and, in the schema, what a valid event taught. Refuses
nothing: an invalid event is stored too, apart from the others, and its sender is never told.

Each rule says whether CoolaData documents it [documented] or whether it is ours [assumption]. The mode, the window
and the quotas are settings of a project there, so they are settings here.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

import msgspec

from target_cooladata.sandbox.schema import (
    CQL_WORDS,
    RESERVED,
    EventName,
    Property,
    Schema,
    Spelling,
    Type,
    is_well_formed,
    split_key,
)
from target_cooladata.sandbox.times import event_time_ms
from target_cooladata.sandbox.verdict import Problem, Reason, Verdict

if t.TYPE_CHECKING:
    from target_cooladata.sandbox.ingest import ReceivedEvent

MAX_EVENT_BYTES = 100_000
"""CoolaData FAQ: an event must not exceed 100 KB. Assumption: 100,000 bytes of its JSON, before percent-encoding."""

MAX_EVENT_NAMES = 1_500
"""CoolaData events page: distinct event names per project."""

EVENT_NAME = "event_name"
USER_ID = "user_id"
EVENT_TIME = "event_timestamp_epoch"
MANDATORY = frozenset({EVENT_NAME, USER_ID, EVENT_TIME})
"""CoolaData REST page: the fields every event must have. They are no part of the learned schema."""

_MAX_BYTES_PER_CHARACTER = 4
_MAX_KEY_SHOWN = 100
_MS_PER_DAY = 86_400_000
_MS_PER_HOUR = 3_600_000
_MS_PER_SECOND = 1_000
_TYPES: dict[type, Type] = {str: "string", int: "integer", float: "float"}
_NUMBERS = frozenset({"integer", "float"})
# Assumption: an integer is stored in 64 bits (CoolaData stores in BigQuery), so a longer one has no type.
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Rules:
    """A project's settings, as far as they decide validity.

    Attributes:
        schema_mode: `learn`: new names join the schema. `locked`: a new event name makes the event invalid, new
            properties are dropped and the event is kept [documented]. The schema is then what was learned before.
        past_days: oldest event time accepted, in days before now; `None` for any. CoolaData's default is 30.
        future_hours: latest event time accepted, in hours from now; `None` for any. CoolaData's default is 1.
        property_quota: how many properties the project may have; `None` for any number. It is in the contract.
        event_name_quota: how many event names the project may have.
        learn_seconds: how long an event with a new name is pending before it is valid. CoolaData: "up to five
            minutes". 0: learned at once.
        strict_numbers: a fraction sent to a property first seen as an integer is of the wrong type.
        server_time: the server's time replaces the event's, so that none need be sent [documented].
    """

    schema_mode: t.Literal["learn", "locked"] = "learn"
    past_days: float | None = None
    future_hours: float | None = None
    property_quota: int | None = None
    event_name_quota: int = MAX_EVENT_NAMES
    learn_seconds: float = 0
    strict_numbers: bool = False
    server_time: bool = False


class _Findings(msgspec.Struct):
    """What one event turned out to hold, while it is being judged."""

    now_ms: int
    mandatory: dict[str, t.Any]
    names: list[str]
    problems: list[Problem]
    new_properties: list[Property]
    new_spellings: list[Spelling]

    def add(self, reason: Reason, comment: str) -> None:
        self.problems.append(Problem(reason, comment))


class Judge:
    """Applies a project's rules to events, one after the other; its schema learns from the valid ones."""

    def __init__(self, schema: Schema, rules: Rules) -> None:
        """Judge by these rules, starting from what the schema knows."""
        self.schema = schema
        self.rules = rules

    def judge(self, received: ReceivedEvent, now_ms: int) -> Verdict:
        """Judge one event.

        Args:
            received: the event.
            now_ms: the server's clock, milliseconds since 1970 UTC.

        Returns:
            The verdict, with every problem of the event. One bad property makes the whole event invalid
            [documented]. Nothing is learned from an invalid event [assumption].
        """
        event = received.value
        if type(event) is not dict:
            return Verdict("invalid", problems=(_not_an_event(event),))
        found = _Findings(now_ms, {name: event.get(name) for name in MANDATORY}, [], [], [], [])
        _check_size(received.text, found)
        self._check_properties(event, found)
        name = self._check_event_name(found)
        user_id = _mandatory_string(USER_ID, found)
        time_ms = self._check_time(found)
        if found.problems or name is None:
            known = self.schema.event_names.get(name.lower()) if name else None
            spelling = known.spelling if known else name
            return Verdict("invalid", spelling, user_id, time_ms, None, tuple(found.problems))
        spelling, settles_at_ms = self._learn(name, found)
        return Verdict("pending" if settles_at_ms else "valid", spelling, user_id, time_ms, settles_at_ms)

    def _check_properties(self, event: dict[str, t.Any], found: _Findings) -> None:
        names_by_key, properties, names = self.schema.names_by_key, self.schema.properties, found.names
        for key, value in event.items():
            name = names_by_key.get(key)
            if name is not None:
                names.append(name)
                if type(value) is not str or properties[name].type != "string":  # else it plainly fits
                    self._check_value(key, value, properties[name], found)
            elif key not in MANDATORY:
                self._check_new_key(key, value, found)
        if len(set(names)) != len(names):
            # Names are case-insensitive [documented]; that two of one name spoil the event is an assumption.
            found.add("repeated_property", "two keys differ only by case or prefix")
        quota, new = self.rules.property_quota, found.new_properties
        if quota is not None and new and len(self.schema.properties) + len(new) > quota:
            found.add("too_many_properties", f"{new[0].name} is new, and the quota is {quota}")  # [documented]

    def _check_new_key(self, key: str, value: t.Any, found: _Findings) -> None:
        name, scope = split_key(key)
        if name in MANDATORY:
            if found.mandatory[name] is not None:
                found.add("repeated_property", f"{name} is there in two spellings")
            found.mandatory[name] = value
            return
        known = self.schema.properties.get(name)
        if known is not None:
            found.names.append(name)
            found.new_spellings.append(Spelling(key, name))
            self._check_value(key, value, known, found)
        elif self.rules.schema_mode == "learn":
            found.names.append(name)
            _check_new_name(key, name, found)
            new_type = _type_of(key, value, found)
            if new_type is not None:
                found.new_spellings.append(Spelling(key, name))
                found.new_properties.append(Property(name, new_type, scope, found.now_ms))

    def _check_value(self, key: str, value: t.Any, known: Property, found: _Findings) -> None:
        given = _type_of(key, value, found)
        if given is None or given == known.type:
            return
        # The REST page knows String and Number, the properties page Integer and Float. Assumption: a whole number
        # suits a Float, and a fraction an Integer, the latter unless the rules say otherwise.
        are_numbers = {given, known.type} == _NUMBERS
        if not are_numbers or (known.type == "integer" and self.rules.strict_numbers):
            found.add("wrong_type", f"{key} is of type {known.type}, this value {given}")  # [documented]

    def _check_event_name(self, found: _Findings) -> str | None:
        name = _mandatory_string(EVENT_NAME, found)
        if name is None or name.lower() in self.schema.event_names:
            return name
        quota = self.rules.event_name_quota
        if self.rules.schema_mode == "locked":
            found.add("unknown_event_name", "the event name is new, and the schema locked")  # [documented]
        elif len(self.schema.event_names) >= quota:
            found.add("too_many_event_names", f"the event name is new, and the quota is {quota}")  # [documented]
        return name

    def _check_time(self, found: _Findings) -> int | None:
        if self.rules.server_time:  # a time that was sent is ignored [documented]
            return found.now_ms
        value = found.mandatory[EVENT_TIME]
        if value is None or value == "":
            found.add("missing_property", f"{EVENT_TIME} is missing")  # [documented]
            return None
        time_ms = event_time_ms(value)
        if time_ms is None:
            # That it must be in one of these forms is documented; that another one spoils the event is assumed.
            found.add("bad_time", f"{EVENT_TIME} is neither 13 digits nor a date in a documented form")
            return None
        past, future = self.rules.past_days, self.rules.future_hours
        too_old = past is not None and time_ms < found.now_ms - past * _MS_PER_DAY
        too_new = future is not None and time_ms > found.now_ms + future * _MS_PER_HOUR
        if too_old or too_new:
            found.add("time_out_of_range", f"{EVENT_TIME} is outside the project's window")  # [documented]
        return time_ms

    def _learn(self, name: str, found: _Findings) -> tuple[str, int | None]:
        """Return how the project spells the event's name, and when the event settles if it is pending."""
        schema, lower = self.schema, name.lower()
        if lower not in schema.event_names:
            schema.learn(EventName(lower, name, found.now_ms))
        for prop in found.new_properties:
            schema.learn(prop)
        for spelling in found.new_spellings:
            schema.learn(spelling)
        known = schema.event_names[lower]
        if not self.rules.learn_seconds:
            return known.spelling, None
        # "pending (new, will join the schema if valid)" [documented]. That it lasts until the youngest of the event's
        # names has been known for the time learning takes is an assumption.
        first_seen = [schema.properties[n].first_seen_ms for n in found.names if n in schema.properties]
        settles_at_ms = round(max([known.first_seen_ms, *first_seen]) + self.rules.learn_seconds * _MS_PER_SECOND)
        return known.spelling, settles_at_ms if settles_at_ms > found.now_ms else None


def _not_an_event(value: t.Any) -> Problem:
    """Assumptions both: the nearest documented reason is broken JSON."""
    if value is msgspec.UNSET:
        return Problem("unreadable_number", "it holds a number too large to be read")
    return Problem("not_an_object", "an event is a JSON object")


def _check_size(text: str, found: _Findings) -> None:
    if len(text) * _MAX_BYTES_PER_CHARACTER > MAX_EVENT_BYTES and len(text.encode()) > MAX_EVENT_BYTES:
        found.add("event_too_large", f"an event has at most {MAX_EVENT_BYTES} bytes")  # [documented]


def _mandatory_string(name: str, found: _Findings) -> str | None:
    value = found.mandatory[name]
    if value is None or value == "":  # that "" is no value is assumed, from "a null field should be left empty"
        found.add("missing_property", f"{name} is missing")  # [documented]
        return None
    if type(value) is not str:
        found.add("wrong_type", f"{name} is of type string")  # [documented]
        return None
    return value


def _check_new_name(key: str, name: str, found: _Findings) -> None:
    """That such names are not allowed is documented; that one spoils the event is assumed."""
    if not is_well_formed(key):
        shown = key[:_MAX_KEY_SHOWN]
        found.add("bad_property_name", f"{shown!r} is not a letter followed by letters, digits and _")
    elif name in RESERVED or name in CQL_WORDS:
        found.add("reserved_property_name", f"{name} is a reserved word")


def _type_of(key: str, value: t.Any, found: _Findings) -> Type | None:
    """Return the type of a value; `None` if it has none: it is empty, which is fine, or of no type at all."""
    if value is None or value == "":  # null is "left empty" [documented for files, assumed here]
        return None
    kind = _TYPES.get(type(value))
    shown = key[:_MAX_KEY_SHOWN]
    if kind is None and isinstance(value, bool):
        # That there is no Boolean type is documented; that one spoils the event is assumed.
        found.add("wrong_type", f"{shown} is true or false; there is no Boolean type")
    elif kind is None:
        found.add("nested_value", f"{shown} is an object or an array; nested JSON is not supported")  # [documented]
    elif kind == "integer" and not _MIN_INTEGER <= value <= _MAX_INTEGER:
        found.add("wrong_type", f"{shown} is an integer of more than 64 bits")  # [assumption]
        return None
    return kind
