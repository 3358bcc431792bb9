"""Records to CoolaData events, or a reject with a reason.

In: a record as JSON bytes, as any tap sends it. Out: the event as JSON bytes: `event_name`, `user_id`,
`event_timestamp_epoch` and flat properties with names that CoolaData takes, numbers and strings byte for byte as they
came, nulls left out. Refused, with a reason of `REASONS`: what cannot become such an event.

Most records of our own tap need no change but the name of their time: `forms` knows them at a glance, and they are sent
as the bytes that came in. For the others, what follows from a record's shape alone (names and JSON types) is worked out
once and kept in a `_Plan`.
"""

from __future__ import annotations

import time
import typing as t

import msgspec
from singer_sdk.exceptions import MissingKeyPropertiesError

from target_cooladata import names, values
from target_cooladata.exceptions import Rejected
from target_cooladata.forms import Form
from target_cooladata.kinds import Kinds, KindWatch
from target_cooladata.mandatory import Mandatory

if t.TYPE_CHECKING:
    from target_cooladata.settings import Settings, StreamSettings
    from target_cooladata.stamps import Stamper

MAX_EVENT_BYTES = 100_000  # CoolaData FAQ: an event must not exceed 100 KB
DAY = 86_400_000  # milliseconds
HOUR = 3_600_000
PAST_WINDOW = 30 * DAY  # CoolaData, Handling Invalid Events: past 30 days, future 1 hour, unless the project says other
FUTURE_WINDOW = HOUR

REASONS: dict[str, str] = {
    "not_an_object": "the record is not a JSON object",
    "not_json": "the record holds what JSON forbids, such as NaN or half of a surrogate pair",
    "missing_event_name": "the record has no event name",
    "bad_event_name": "the event name is neither text nor an integer",
    "missing_user_id": "the record has no user id",
    "bad_user_id": "the user id is neither text nor an integer",
    "missing_time": "the record has no event time",
    "bad_time": "the event time is in no spelling that is understood",
    "time_in_seconds": "the event time looks like seconds where milliseconds are expected",
    "nested_value": "a property is an object or an array",
    "nested_too_deeply": "objects or arrays stand in each other too many times",
    "number_out_of_range": "a number does not fit into 64 bits",
    "bad_property_name": "a property has a name that CoolaData refuses",
    "name_collision": "two properties have names that are one to CoolaData",
    "event_too_large": f"the event has more than {MAX_EVENT_BYTES:,} bytes",
    "map_failed": "a stream map failed on the record",
    "refused": "the API refused the event, alone and twice",
}

_MAX_PLANNED = 200_000  # names and types in all plans, some 20 MB
_UNCHANGED = frozenset({str, int, float})
_TIME, _EVENT_TIME = b'"event_time_ts":', b'"event_timestamp_epoch":'
_GROWTH = len(_EVENT_TIME) - len(_TIME)


class Facts:
    """What is counted over all streams, for the report."""

    def __init__(self) -> None:
        self.outside_window = 0
        self.time_conflicts = 0
        self.digits = 0
        self.book = names.NameBook()
        self.kinds = Kinds()
        now = time.time_ns() // 1_000_000
        self.window = (now - PAST_WINDOW, now + FUTURE_WINDOW)


class _Plan(msgspec.Struct):
    """What follows from a shape.

    Attributes:
        time: the property that holds the time.
        rivals: other properties that hold a time, which are not sent.
        columns: the properties to send, in order.
        integers: those of them that must fit into 64 bits.
        nested: those of them that are sent as their leaves.
        is_noted: the types of the others are known.
    """

    time: str | None
    rivals: tuple[str, ...]
    columns: tuple[str, ...]
    integers: tuple[str, ...]
    nested: tuple[str, ...]
    is_noted: bool = False


class EventMaker:
    """Makes events of one stream's records.

    Args:
        stream: its name, which is the event name where nothing else says one.
        mapping: what the settings say of this stream.
        settings: the settings.
        facts: where to count.
        stamper: adds ids to every event, where the settings ask for them.
    """

    def __init__(
        self, stream: str, mapping: StreamSettings, settings: Settings, facts: Facts, stamper: Stamper | None = None
    ) -> None:
        self._stream = stream
        self._facts = facts
        self._keeps_metadata = settings.add_record_metadata
        self._plans: dict[tuple[t.Any, ...], _Plan] = {}
        self._planned = 0
        self._form = Form()
        self._key_properties: tuple[str, ...] = ()
        self._decode = msgspec.json.Decoder(dict[str, t.Any]).decode
        self._stamper = stamper
        self._kinds = KindWatch(settings, facts.kinds, facts.book)
        self._mandatory = Mandatory(stream, mapping, settings, facts)
        self._writer = values.PropertyWriter(
            settings,
            scopes=dict.fromkeys(mapping.user_properties, "{u}") | dict.fromkeys(mapping.session_properties, "{s}"),
            book=facts.book,
        )

    def set_key_properties(self, key_properties: t.Iterable[str]) -> None:
        """Take the key of a SCHEMA; every record that follows must have it."""
        if tuple(key_properties) != self._key_properties:
            self._key_properties = tuple(key_properties)
            self._plans.clear()
            self._form = Form()

    def make(self, record: bytes, time_extracted: str | None = None, position: int = 0) -> bytes:
        """Make the event of one record.

        Args:
            record: a JSON object.
            time_extracted: the message's, for `event_time_fallback`.
            position: which record behind the leading STATE it is, for `event_id_property`.

        Raises:
            Rejected: with a reason of `REASONS`.
            MissingKeyPropertiesError: the record lacks its key, which breaks the Singer specification.
        """
        known = self.at_a_glance((record,))
        try:
            event = known[0] if known else self._rebuilt(record, time_extracted)
        except RecursionError:
            reason, detail = "nested_too_deeply", "objects or arrays stand in each other several hundred deep"
            raise Rejected(reason, detail) from None
        if self._stamper is not None:
            event = self._stamper.stamp(event, record, position)
        if len(event) > MAX_EVENT_BYTES:
            reason = "event_too_large"
            detail = f"the event has {len(event):,} bytes, and CoolaData takes at most {MAX_EVENT_BYTES:,}"
            raise Rejected(reason, detail)
        return event

    def at_a_glance(self, records: t.Sequence[bytes | None], begin: int = 0) -> list[bytes]:
        """The hot loop: records that need nothing but their time renamed.

        Args:
            records: what may be records, or None.
            begin: the index of the first one to look at.

        Returns:
            Their events, up to the first one that is not known so: which may be anything.
        """
        events: list[bytes] = []
        decode, (earliest, latest), outside = self._form.decode, self._facts.window, 0
        if decode is None:
            return events
        for index in range(begin, len(records)):
            record = records[index]
            if record is None:
                break
            try:
                moment = decode(record).event_time_ts
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                break
            event = record.replace(_TIME, _EVENT_TIME)
            size = len(event)
            if size - len(record) != _GROWTH or size > MAX_EVENT_BYTES:  # spelled in another way, or there twice
                break
            if not earliest <= moment <= latest:
                outside += 1
            events.append(event)
        self._facts.outside_window += outside
        return events

    def _rebuilt(self, record: bytes, time_extracted: str | None) -> bytes:
        found = self._decoded(record)
        name = self._mandatory.event_name(found)
        shape = (name.lower(), *found, *map(type, found.values()))
        plan = self._plans.get(shape)
        if plan is None or (plan.time and found[plan.time] == ""):
            plan = self._plan(shape, name, found)
            known_now = self.at_a_glance((record,))
            if known_now:
                return known_now[0]
        user = self._mandatory.user_id(found)
        moment = self._mandatory.moment(found, plan.time, plan.rivals, time_extracted)
        for key in plan.integers:
            values.check_integer(key, found[key])
        event = self._writer.write(record, plan.columns, name, user, moment)
        if plan.nested or not plan.is_noted:
            self._kinds.note(name, plan.nested if plan.is_noted else plan.columns, found)
            plan.is_noted = True
        return event

    def _decoded(self, record: bytes) -> dict[str, t.Any]:
        try:
            return self._decode(record)
        except msgspec.ValidationError as error:
            if "out of range" in str(error):
                reason, detail = "number_out_of_range", "a number is beyond what a double can hold"
            else:
                reason, detail = "not_an_object", "the record is not a JSON object"
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason, detail = "not_json", f"the record is not JSON in UTF-8: {error}"
        raise Rejected(reason, detail)

    def _plan(self, shape: tuple[t.Any, ...], name: str, found: dict[str, t.Any]) -> _Plan:
        missing = [key for key in self._key_properties if key not in found]
        if missing:
            msg = f"a record of stream {self._stream!r} lacks its key {', '.join(missing)}; check the tap"
            raise MissingKeyPropertiesError(msg)
        mandatory = self._mandatory
        candidates = mandatory.time_keys
        present = [key for key in candidates if found.get(key) not in (None, "")]
        consumed = {mandatory.name_key, mandatory.user_key, *candidates}
        columns = [
            key
            for key, value in found.items()
            if key not in consumed and value is not None and (self._keeps_metadata or not key.startswith("_sdc_"))
        ]
        # A name that needs no mending is never the one that gives way, and one of the record's own to none from within.
        columns.sort(key=lambda key: (not names.is_allowed(names.split_scope(key)[1]), type(found[key]) is dict))
        plan = _Plan(
            time=present[0] if present else None,
            rivals=tuple(present[1:]),
            columns=tuple(columns),
            integers=tuple(key for key in columns if type(found[key]) is int),
            nested=self._kinds.nested(columns, found),
        )
        if self._is_event_already(found, present, columns):
            self._form.learn(columns, found)
            self._kinds.note(name, columns, found)
            plan.is_noted = True
        # A shape does not tell an empty time from one that counts.
        if all(found.get(key) != "" for key in candidates):
            self._planned += len(shape)
            if self._planned > _MAX_PLANNED:
                self._plans.clear()
                self._planned = len(shape)
            self._plans[shape] = plan
        return plan

    def _is_event_already(self, found: dict[str, t.Any], present: list[str], columns: list[str]) -> bool:
        """Whether a record of this shape is an event as CoolaData takes it, but for the name of its time."""
        return (
            not self._key_properties
            and present == ["event_time_ts"]
            and self._mandatory.name_key == "event_name"
            and self._mandatory.user_key == "user_id"
            and len(columns) + 3 == len(found)
            and type(found.get("event_name")) is str
            and bool(found["event_name"])
            and type(found.get("user_id")) is str
            and type(found["event_time_ts"]) is int
            and _UNCHANGED.issuperset(map(type, found.values()))
            and self._writer.keeps_names(columns)
        )
