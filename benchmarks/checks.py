"""Whether a run did its work: in go what it reported and what nginx counted, out comes nothing, or a `WrongError`.

A figure counts only if every event went out once, in as many calls and body bytes as those events need. Which bytes
the target leaves as they are and which it percent-encodes is learned from bodies that nginx kept; their content is
compared event by event with what the rows must become.
"""

from __future__ import annotations

import json
import re
import typing as t
import urllib.parse

from benchmarks import data
from benchmarks.processes import Ended, WrongError

if t.TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.nginx import Calls

EVENTS_A_CALL = 300  # CoolaData REST page: at most 300 events a call
_RENAMED = len("event_timestamp_epoch") - len("event_time_ts")
_ENVELOPE = b'{"events":[]}'
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_CHUNK = 1 << 24


def tap(ended: Ended, rows: int) -> None:
    """Require that the tap sent every row.

    Raises:
        WrongError: it did not.
    """
    report = ended.require_success().report("rows_read")
    _require("rows sent by the tap", report["rows_sent"], rows)
    rest = report["rows_rejected"] + report["rows_blank"] + report["rows_filtered"]
    _require("rows read by the tap, less those it did not send", report["rows_read"] - rest, rows)


def records(lines: t.Iterable[str], shape: str, rows: int) -> None:
    """Require that a tap's output holds exactly what the rows must become, in their order.

    Raises:
        WrongError: it does not.
    """
    messages = (json.loads(line) for line in lines)
    found = (message["record"] for message in messages if message["type"] == "RECORD")
    for number, row in enumerate(data.ROWS[shape](rows), start=1):
        _require(f"record {number}", next(found, None), data.expected_record(row))
    _require("the record after the last", next(found, None), None)


def target(ended: Ended, calls: Calls, need: Need, events: int) -> None:
    """Require that the target delivered every event, and that nginx took exactly that, without a refused call.

    Raises:
        WrongError: it did not.
    """
    delivered(ended, calls, need, events)
    _require("calls that nginx answered otherwise than with 200", calls.others, 0)


def delivered(ended: Ended, calls: Calls, need: Need, events: int) -> None:
    """Require that the target delivered every event, and that nginx took exactly that and refused the rest.

    Raises:
        WrongError: it did not.
    """
    report = ended.require_success().report("events_delivered")
    _require("events delivered by the target", report["events_delivered"], events)
    _require("records read by the target", report["records_read"], events)
    _require("the target's equation", report["equation_closes"], True)
    _require("calls retried", report["retries"], calls.others)
    needed = -(-events // EVENTS_A_CALL)
    _require("calls that the target reports", report["calls"], needed + calls.others)
    _require("calls that nginx counted", calls.calls, needed)
    _require("body bytes that nginx counted", calls.body_bytes, need.body_bytes(needed))


class Need:
    """The body bytes that plain rows need.

    Args:
        bodies: what the target sent for the first plain rows, as a sample of its encoding.
    """

    def __init__(self, bodies: t.Sequence[bytes]) -> None:
        self._plain = bytes(sorted(_plain_bytes(bodies)))
        self._rows = self._row_bytes = 0

    def measure(self, file: Path) -> Need:
        """Count the bytes of a file of plain rows; return this."""
        self._rows = self._row_bytes = 0
        with file.open("rb") as source:
            while chunk := source.read(_CHUNK):
                lines = chunk.count(b"\n")
                self._rows += lines
                self._row_bytes += self._size(chunk) - lines * self._size(b"\n")
        return self

    def body_bytes(self, calls: int) -> int:
        """Body bytes of the rows, sent in so many calls."""
        renamed = self._rows * _RENAMED
        return self._row_bytes + renamed + (self._rows - calls) * self._size(b",") + calls * self._size(_ENVELOPE)

    def _size(self, text: bytes) -> int:
        return len(text) + 2 * len(text.translate(None, self._plain))


def bodies(found: t.Sequence[bytes], rows: int) -> None:
    """Require that bodies hold exactly the events of the first plain rows, in calls as large as they may be.

    Raises:
        WrongError: they do not.
    """
    calls = [json.loads(urllib.parse.unquote_to_bytes(body))["events"] for body in found]
    _require("calls", len(calls), -(-rows // EVENTS_A_CALL))
    events = sorted((event for call in calls for event in call), key=lambda event: event["event_timestamp_epoch"])
    for number, (event, row) in enumerate(zip(events, data.plain_rows(rows), strict=True), start=1):
        _require(f"event {number}", event, data.expected_event(row))


def _plain_bytes(sent: t.Sequence[bytes]) -> set[int]:
    plain: set[int] = set()
    encoded: set[int] = set()
    for body in sent:
        encoded.update(int(code, 16) for code in _ESCAPE.findall(body))
        plain.update(_ESCAPE.sub(b"", body))
    _require("bytes that are sent now as they are and now encoded", plain & encoded, set())
    return plain


def _require(what: str, found: object, expected: object) -> None:
    if found != expected:
        msg = f"{what}: {found!r}, expected {expected!r}"
        raise WrongError(msg)
