"""Singer messages, as a tap would write them."""

from __future__ import annotations

import json
import typing as t

APP_KEY = "k3yk3yk3yk3yk3yk3yk3yk3yk3yk3yk3"  # the shape of CoolaData's, and findable in any output


def schema(stream: str = "events", key_properties: t.Sequence[str] = (), **properties: t.Any) -> str:
    """A SCHEMA."""
    return _line(
        type="SCHEMA",
        stream=stream,
        schema={"type": "object", "properties": properties},
        key_properties=list(key_properties),
    )


def record(stream: str = "events", *, time_extracted: str | None = None, **properties: t.Any) -> str:
    """A RECORD."""
    extracted = {"time_extracted": time_extracted} if time_extracted else {}
    return _line(type="RECORD", stream=stream, record=properties, **extracted)


def event(number: int, **properties: t.Any) -> str:
    """A RECORD of our own tap's shape, each number another event."""
    times = {"event_time_ts": 1_350_273_990_000 + number}
    return record(**{"event_name": "login", "user_id": f"u{number}", **times, **properties})


def state(**value: t.Any) -> str:
    """A STATE."""
    return _line(type="STATE", value=value)


def _line(**message: t.Any) -> str:
    return json.dumps(message) + "\n"
