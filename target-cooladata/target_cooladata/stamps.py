"""Ids for every event, where the settings ask for them.

In: an event and the record that it was made of. Out: the event with `run_id_property` and `event_id_property`. The
latter is the same whenever the same record comes from the same place again, so that repeats can be found in CoolaData.
"""

from __future__ import annotations

import hashlib
import typing as t

import msgspec

if t.TYPE_CHECKING:
    from target_cooladata.settings import Settings

_SOURCE = (b'"_sdc_source_file":', b'"_sdc_source_lineno":')


class Stamper:
    """Adds the ids of `run_id_property` and `event_id_property`.

    Args:
        settings: the settings.
        run_id: the run's.
    """

    def __init__(self, settings: Settings, run_id: str) -> None:
        self._run = _member(settings.run_id_property, run_id)
        self._property = settings.event_id_property
        self.leading = b""

    def stamp(self, event: bytes, record: bytes, position: int) -> bytes:
        """Give the event with its ids.

        Args:
            event: the event.
            record: the record that it was made of.
            position: its number behind the leading STATE.
        """
        identity = ""
        if self._property:
            # The metadata of our tap's records say which line of which file they are.
            says_where = all(name in record for name in _SOURCE)
            place = b"" if says_where else self.leading + position.to_bytes(8)
            identity = hashlib.blake2b(record + place, digest_size=16).hexdigest()
        return event.rstrip()[:-1] + self._run + _member(self._property, identity) + b"}"


def _member(name: str | None, value: str) -> bytes:
    return b"," + msgspec.json.encode(name) + b":" + msgspec.json.encode(value) if name else b""
