"""What became of every record: counts by stream, and the run's report.

In: what the run's parts have counted. Out: one JSON object, logged on one line and written to `report_path`. Its
equation is `records_read = events_delivered + events_rejected + records_filtered + events_already_delivered +
events_undelivered`, every term counted where it happens; a report that does not close is a failure of the run. It holds
no event content.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import time
import typing as t
from collections import Counter
from pathlib import Path

import msgspec

from target_cooladata.exceptions import TargetError

if t.TYPE_CHECKING:
    from target_cooladata.batches import Event

MIN_REJECTS = 100  # fewer refused records never fail a run by their share
MELTANO_TEST_STREAM = "meltano_test_stream"  # `meltano config test` sends it to see whether a target runs


# Of `events.REASONS`: another property may be the one that is meant.
_MAPPING_REASONS = frozenset(
    {
        "missing_event_name",
        "bad_event_name",
        "missing_user_id",
        "bad_user_id",
        "missing_time",
        "bad_time",
        "time_in_seconds",
    }
)


class StreamTally(msgspec.Struct):
    """Records and events of one stream."""

    records_read: int = 0
    events_delivered: int = 0
    events_rejected: int = 0
    records_filtered: int = 0
    events_already_delivered: int = 0


class Tally:
    """Counts of one run."""

    def __init__(self) -> None:
        self.run_id = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        self.started_at = dt.datetime.now(dt.UTC)
        self._started = time.monotonic()
        self.streams: dict[str, StreamTally] = {}
        self.reject_reasons: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {}  # by stream
        self.undelivered = 0
        self.calls = 0
        self.retries = 0
        self.in_doubt = 0
        self.states_written = 0
        self.rejects: str | None = None  # where they are kept, if there are any
        self.dry_calls = 0
        self._dry_streams: set[str] = set()

    def stream(self, name: str) -> StreamTally:
        """The counts of a stream."""
        return self.streams.setdefault(name, StreamTally())

    def total(self, field: str) -> int:
        """A count over all streams."""
        return sum(getattr(tally, field) for tally in self.streams.values())

    def reject(self, stream: str, reason: str) -> None:
        """Count a record that was refused and is kept."""
        self.stream(stream).events_rejected += 1
        self.reject_reasons[reason] += 1
        self._reasons.setdefault(stream, Counter())[reason] += 1

    def count_dry(self, events: t.Sequence[Event]) -> None:
        """Count a call that a dry run does not make."""
        self.dry_calls += 1
        self.undelivered += len(events)
        self._dry_streams.update(event.stream for event in events)

    def over_limit(self, max_reject_percent: int) -> list[str]:
        """Say which streams have had too much refused, one sentence each."""
        found = []
        for name, tally in self.streams.items():
            rejected, read = tally.events_rejected, tally.records_read - tally.records_filtered
            if rejected >= MIN_REJECTS and rejected * 100 > max_reject_percent * read:
                found.append(
                    f"stream {name!r}: {rejected:,} of {read:,} records were refused, more than `max_reject_percent` "
                    f"({max_reject_percent}) allows"
                )
        return found

    def barren(self) -> list[str]:
        """Say which streams had records of which none was delivered, one sentence each."""
        return [
            f"stream {name!r}: none of its {tally.events_rejected:,} records became an event "
            f"({_listed(self._reasons[name])}); {_advice(self._reasons[name])}"
            for name, tally in self.streams.items()
            if tally.events_rejected
            and not tally.events_delivered + tally.events_already_delivered
            and name not in self._dry_streams
        ]

    def report(self, **more: t.Any) -> dict[str, t.Any]:
        """Give the report, in the order in which it is read."""
        totals = {field: self.total(field) for field in StreamTally.__struct_fields__}
        return {
            "run_id": self.run_id,
            "started_at": self.started_at.isoformat(timespec="milliseconds"),
            "seconds": round(time.monotonic() - self._started, 3),
            **totals,
            "events_undelivered": self.undelivered,
            "equation_closes": self._closes(totals),
            "reject_reasons": dict(self.reject_reasons),
            "calls": self.calls,
            "retries": self.retries,
            "events_in_doubt": self.in_doubt,
            "states_written": self.states_written,
            "rejects": self.rejects,
            **more,
            "streams": {name: msgspec.to_builtins(tally) for name, tally in self.streams.items()},
        }

    def _closes(self, totals: dict[str, int]) -> bool:
        ends = sum(count for field, count in totals.items() if field != "records_read") + self.undelivered
        return totals["records_read"] == ends


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())


def _advice(reasons: Counter[str]) -> str:
    """What helps most of the records of a stream."""
    reason = reasons.most_common(1)[0][0]
    if reason in _MAPPING_REASONS:
        return "`streams` can say which of its properties are the user id, the event time and the event name"
    if reason == "refused":
        return "it is the API that refuses them, and the rejects file says how it answered"
    if reason == "map_failed":
        return "`stream_maps` fails on them, and the rejects file says how"
    return "the rejects file says what is wrong with each"


def write(report: dict[str, t.Any], path: str) -> None:
    """Write a report to a file.

    Raises:
        TargetError: it cannot be written.
    """
    try:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        partial.replace(file)
    except OSError as error:
        msg = f"the report cannot be written to {path} ({error.strerror}); check `report_path`"
        raise TargetError(msg) from None
