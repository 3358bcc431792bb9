"""CoolaData's verdict on an event: valid, invalid or pending, with the reason.

In: an event as received and the clock. Out: a `Verdict`; and, in the schema, what a valid event taught. Refuses
nothing: an invalid event is stored too, apart from the others, and the sender is never told.

Each rule says whether CoolaData documents it [documented] or whether it is our assumption. The mode, the window and the
quota are settings of a project, so they are settings here.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

import msgspec

from target_cooladata.sandbox.ingest import ReceivedEvent
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

MAX_EVENT_BYTES = 100_000
"""CoolaData FAQ: an event must not exceed 100 KB. Assumption: 100,000 bytes of its JSON before percent-encoding."""

MAX_EVENT_NAMES = 1_500
"""CoolaData events page: distinct event names per project."""

EVENT_NAME = "event_name"
USER_ID = "user_id"
EVENT_TIME = "event_timestamp_epoch"

Status = t.Literal["valid", "invalid", "pending"]
Reason = t.Literal[
    "not_an_object",
    "unreadable_number",
    "event_too_large",
    "missing_property",
    "wrong_type",
    "nested_value",
    "bad_property_name",
    "reserved_property_name",
    "repeated_property",
    "bad_time",
    "time_out_of_range",
    "unknown_event_name",
    "too_many_event_names",
    "too_many_properties",
]

_MANDATORY = frozenset({EVENT_NAME, USER_ID, EVENT_TIME})
_MAX_BYTES_PER_CHARACTER = 4
_MS_PER_DAY = 86_400_000
_MS_PER_HOUR = 3_600_000
_MS_PER_SECOND = 1_000
_TYPES: dict[type, Type] = {str: "string", int: "integer", float: "float"}
# Assumption: an integer is stored in 64 bits (CoolaData stores in BigQuery), so a longer one has no type.
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Rules:
    """A project's settings, as far as they decide validity.

    Attributes:
        schema_mode: `learn` (new names join the schema) or `locked` (a new event name makes the event invalid, new
            properties are dropped and the event kept) [documented].
        past_days: oldest event time accepted, in days before now; `None` for no limit. CoolaData's default is 30.
        future_hours: latest event time accepted, in hours after now; `None` for no limit. CoolaData's default is 1.
        property_quota: how many properties the project may have; `None` for no limit. It is in the contract.
        event_name_quota: how many event names the project may have.
        learn_seconds: how long an event with a new name stays pending. CoolaData: up to five minutes.
        strict_numbers: whether a fraction sent to a property first seen as an integer is a wrong type.
        server_time: whether the project replaces the event's time with the server's, so that none need be sent.
    """

    schema_mode: t.Literal["learn", "locked"] = "learn"
    past_days: float | None = None
    future_hours: float | None = None
    property_quota: int | None = None
    event_name_quota: int = MAX_EVENT_NAMES
    learn_seconds: float = 0
    strict_numbers: bool = False
    server_time: bool = False


class Problem(msgspec.Struct, frozen=True):
    """One thing that makes an event invalid: a word to count by and a sentence to read."""

    reason: Reason
    comment: str


class Verdict(msgspec.Struct, frozen=True):
    """What became of one event.

    Attributes:
        status: valid, invalid or pending.
        event_name: as the project spells it, or `None` if the event has none.
        event_time_ms: the stored event time, or `None` if the event has none.
        settles_at_ms: when a pending event becomes valid.
        problems: why it is invalid, the weightiest first.
    """

    status: Status
    event_name: str | None = None
    event_time_ms: int | None = None
    settles_at_ms: int | None = None
    problems: tuple[Problem, ...] = ()


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
    """Applies a project's rules to its events, one after the other, and lets its schema learn from the valid ones."""

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
            The verdict, with every fault of the event. One bad property makes the whole event invalid [documented].
            Nothing is learned from an invalid event [assumption].
        """
        event = received.value
        if type(event) is not dict:
            return Verdict("invalid", problems=(_unreadable(event),))
        found = _Findings(now_ms, {name: event.get(name) for name in _MANDATORY}, [], [], [], [])
        if len(received.text) * _MAX_BYTES_PER_CHARACTER > MAX_EVENT_BYTES:
            _check_size(received.text, found)
        self._check_properties(event, found)
        name = self._check_event_name(found)
        _check_user_id(found)
        time_ms = self._check_time(found)
        if found.problems:
            return Verdict("invalid", self._spelled(name), time_ms, None, tuple(found.problems))
        return self._accept(str(name), time_ms, found)

    def _check_properties(self, event: dict[str, t.Any], found: _Findings) -> None:
        names_by_key, properties, names = self.schema.names_by_key, self.schema.properties, found.names
        for key, value in event.items():
            name = names_by_key.get(key)
            if name is None:
                if key not in _MANDATORY:
                    self._check_new_key(key, value, found)
                continue
            names.append(name)
            if value is not None and (_TYPES.get(type(value)) != properties[name].type or not _fits(value)):
                self._check_odd_value(key, value, properties[name], found)
        if len(set(names)) != len(names):
            # Names are case-insensitive [documented]; what two spellings of one in an event do is assumed.
            found.add("repeated_property", "two properties differ only by case or prefix")
        quota = self.rules.property_quota
        if quota is not None and found.new_properties:
            if len(self.schema.properties) + len(found.new_properties) > quota:
                found.add("too_many_properties", f"a new property over the quota of {quota}")  # [documented]

    def _check_new_key(self, key: str, value: t.Any, found: _Findings) -> None:
        name, scope = split_key(key)
        if name in _MANDATORY:
            if found.mandatory[name] is not None:
                found.add("repeated_property", f"{name} twice, the spellings differ")
            found.mandatory[name] = value
            return
        known = self.schema.properties.get(name)
        if known is not None:
            found.names.append(name)
            found.new_spellings.append(Spelling(key, name))
            self._check_odd_value(key, value, known, found)
        elif self.rules.schema_mode == "learn":  # locked: a new property is silently removed [documented]
            found.names.append(name)
            _check_new_name(key, name, found)
            new_type = _new_type(key, value, found)
            if new_type is not None:
                found.new_spellings.append(Spelling(key, name))
                found.new_properties.append(Property(name, new_type, scope, found.now_ms))

    def _check_odd_value(self, key: str, value: t.Any, known: Property, found: _Findings) -> None:
        """Find the problem, if any, of a value that is not plainly of the property's type."""
        given = _new_type(key, value, found)
        if given is None or given == known.type:
            return
        # The API page knows String and Number, the properties page Integer and Float. Assumption: a whole
        # number suits a Float; a fraction suits an Integer unless the rules say otherwise.
        both_numbers = "string" not in {given, known.type}
        if both_numbers and not (self.rules.strict_numbers and known.type == "integer"):
            return
        found.add("wrong_type", f"{key}: {given}, but its type is {known.type}")  # [documented]

    def _check_event_name(self, found: _Findings) -> str | None:
        name = _mandatory_string(EVENT_NAME, found)
        if name is None or name.lower() in self.schema.event_names:
            return name
        if self.rules.schema_mode == "locked":
            found.add("unknown_event_name", "a new event name, and the schema is locked")  # [documented]
        elif len(self.schema.event_names) >= self.rules.event_name_quota:
            found.add(
                "too_many_event_names", f"more than {self.rules.event_name_quota} event names"
            )  # [documented]
        return name

    def _check_time(self, found: _Findings) -> int | None:
        if self.rules.server_time:  # a sent value is ignored [documented]
            return found.now_ms
        value = found.mandatory[EVENT_TIME]
        if value is None or value == "":
            found.add("missing_property", f"{EVENT_TIME} is missing")  # [documented]
            return None
        time_ms = event_time_ms(value)
        if time_ms is None:
            found.add("bad_time", f"{EVENT_TIME} is in no documented form")  # [assumption: as a wrong type]
            return None
        past, future = self.rules.past_days, self.rules.future_hours
        if (past is not None and time_ms < found.now_ms - past * _MS_PER_DAY) or (
            future is not None and time_ms > found.now_ms + future * _MS_PER_HOUR
        ):
            found.add("time_out_of_range", f"{EVENT_TIME} is outside the project's window")  # [documented]
        return time_ms

    def _accept(self, name: str, time_ms: int | None, found: _Findings) -> Verdict:
        schema, learn_ms = self.schema, self.rules.learn_seconds * _MS_PER_SECOND
        if name.lower() not in schema.event_names:
            schema.learn(EventName(name.lower(), name, found.now_ms))
        for entry in (*found.new_properties, *found.new_spellings):
            schema.learn(entry)
        spelled = schema.event_names[name.lower()]
        if learn_ms:
            # "pending (new, will join the schema if valid)" [documented]; that it lasts as long as the
            # learning of the youngest name in the event is assumed.
            first_seen = [schema.properties[n].first_seen_ms for n in found.names if n in schema.properties]
            settles_at_ms = round(max([spelled.first_seen_ms, *first_seen]) + learn_ms)
            if settles_at_ms > found.now_ms:
                return Verdict("pending", spelled.spelling, time_ms, settles_at_ms)
        return Verdict("valid", spelled.spelling, time_ms)

    def _spelled(self, name: str | None) -> str | None:
        known = self.schema.event_names.get(name.lower()) if name is not None else None
        return known.spelling if known else name


def _unreadable(value: t.Any) -> Problem:
    if value is msgspec.UNSET:
        return Problem("unreadable_number", "a number is too large to be read")  # [assumption]
    return Problem("not_an_object", "an event must be a JSON object")  # [assumption: as broken JSON]


def _check_size(text: str, found: _Findings) -> None:
    size = len(text.encode())
    if size > MAX_EVENT_BYTES:
        found.add("event_too_large", f"{size} bytes, at most {MAX_EVENT_BYTES} are allowed")  # [documented]


def _check_user_id(found: _Findings) -> None:
    _mandatory_string(USER_ID, found)


def _mandatory_string(name: str, found: _Findings) -> str | None:
    value = found.mandatory[name]
    if value is None or value == "":  # that "" counts as missing is assumed: null fields are "left empty"
        found.add("missing_property", f"{name} is missing")  # [documented]
        return None
    if type(value) is not str:
        found.add("wrong_type", f"{name} must be a string")  # [documented]
        return None
    return value


def _check_new_name(key: str, name: str, found: _Findings) -> None:
    """That such names are forbidden is documented; that an event with one is invalid is assumed."""
    if not is_well_formed(name):
        found.add("bad_property_name", f"{key[:100]!r} is not a letter followed by letters, digits and _")
    elif name in RESERVED or name in CQL_WORDS:
        found.add("reserved_property_name", f"{name} is reserved")


def _new_type(key: str, value: t.Any, found: _Findings) -> Type | None:
    """Return a value's type; `None` if it has none, being empty (which is fine) or of no type at all (a problem)."""
    if value is None or value == "":  # null is "left empty" [documented for files, assumed for the API]
        return None
    if isinstance(value, dict | list):
        found.add("nested_value", f"{key[:100]}: nested JSON is not supported")  # [documented]
    elif isinstance(value, bool):
        found.add(
            "wrong_type", f"{key[:100]}: there is no Boolean type"
        )  # [documented; that it invalidates: assumed]
    elif not _fits(value):
        found.add("wrong_type", f"{key[:100]}: an integer of more than 64 bits")  # [assumption]
    else:
        return _TYPES[type(value)]
    return None


def _fits(value: t.Any) -> bool:
    return type(value) is not int or _MIN_INTEGER <= value <= _MAX_INTEGER
