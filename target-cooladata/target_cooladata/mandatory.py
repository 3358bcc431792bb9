"""What every event must have: its name, its user and its time.

In: a record, decoded, and what the settings say of its stream. Out: name and user as text, the time in milliseconds.
Refused, with a reason of `events.REASONS`: a record that lacks one of them, or has one that cannot be read.
"""

from __future__ import annotations

import time
import typing as t
from zoneinfo import ZoneInfo

from target_cooladata import times
from target_cooladata.exceptions import Rejected

if t.TYPE_CHECKING:
    from target_cooladata.events import Facts
    from target_cooladata.settings import Settings, StreamSettings

TIME_NAMES = ("event_time_ts", "event_timestamp_epoch", "event_timestamp")  # the first one present counts


class Mandatory:
    """Finds them in the records of one stream.

    Args:
        stream: its name, which is the event name where nothing else says one.
        mapping: what the settings say of this stream.
        settings: `time_zone`, `event_time_fallback`.
        facts: where to count.

    Attributes:
        name_key: the property that holds the event's name; None if it is the same for all.
        user_key: the one that holds the user's id.
        time_keys: those that may hold the time.
    """

    def __init__(self, stream: str, mapping: StreamSettings, settings: Settings, facts: Facts) -> None:
        self._stream = stream
        self._mapping = mapping
        self._settings = settings
        self._facts = facts
        self._zone = ZoneInfo(settings.time_zone)
        self.name_key = mapping.event_name_property or (None if mapping.event_name else "event_name")
        self.user_key = mapping.user_id_property or "user_id"
        self.time_keys = (mapping.event_time_property,) if mapping.event_time_property else TIME_NAMES

    def event_name(self, found: dict[str, t.Any]) -> str:
        """Give the event's name.

        Raises:
            Rejected: it has none, or none that is a text or an integer.
        """
        mapping = self._mapping
        if self.name_key is None:
            return mapping.event_name or self._stream
        name = found.get(self.name_key)
        if name is None or name == "":
            if mapping.event_name_property is None:
                return self._stream
            if mapping.event_name:
                return mapping.event_name
            reason, detail = (
                "missing_event_name",
                f"the record has no {self.name_key!r} (`event_name_property`)",
            )
            raise Rejected(reason, detail)
        return name if type(name) is str else self._digits(name, "event_name", self.name_key)

    def user_id(self, found: dict[str, t.Any]) -> str:
        """Give the user's id.

        Raises:
            Rejected: it has none, or none that is a text or an integer.
        """
        user = found.get(self.user_key)
        if user is None or user == "":
            reason = "missing_user_id"
            detail = f"the record has no {self.user_key!r}; `streams` can name another property in `user_id_property`"
            raise Rejected(reason, detail)
        return user if type(user) is str else self._digits(user, "user_id", self.user_key)

    def _digits(self, value: object, what: str, key: str) -> str:
        if type(value) is not int:
            reason, detail = f"bad_{what}", f"{key!r} is {type(value).__name__}, and CoolaData takes text"
            raise Rejected(reason, detail)
        self._facts.digits += 1
        return str(value)

    def moment(
        self, found: dict[str, t.Any], key: str | None, rivals: t.Iterable[str], time_extracted: str | None
    ) -> int | None:
        """Give the event's time.

        Args:
            found: the record.
            key: the property that holds the time, if one does.
            rivals: other properties that hold a time.
            time_extracted: the message's, for `event_time_fallback`.

        Returns:
            Milliseconds; None if the project's server time is to count.

        Raises:
            Rejected: the time cannot be read, or there is none.
        """
        if key is None:
            return self._fallback(time_extracted)
        value = found[key]
        if type(value) is int and times.MIN_MILLISECONDS <= value <= times.MAX_MILLISECONDS:
            moment = value
        else:
            moment = times.to_milliseconds(value, self._zone)
        for rival in rivals:
            self._compare(found[rival], moment)
        earliest, latest = self._facts.window
        if not earliest <= moment <= latest:
            self._facts.outside_window += 1
        return moment

    def _compare(self, rival: object, moment: int) -> None:
        try:
            agrees = rival == "" or times.to_milliseconds(rival, self._zone) == moment
        except Rejected:
            agrees = False
        self._facts.time_conflicts += not agrees

    def _fallback(self, time_extracted: str | None) -> int | None:
        if self._settings.event_time_fallback == "server":
            return None
        if self._settings.event_time_fallback == "extracted":
            return times.to_milliseconds(time_extracted or time.time_ns() // 1_000_000, ZoneInfo("UTC"))
        reason = "missing_time"
        wanted = " or ".join(self.time_keys)
        detail = f"the record has no {wanted}; `streams` can name another property in `event_time_property`"
        raise Rejected(reason, detail)
