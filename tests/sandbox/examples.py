"""Events to send: in, what a test is about; out, an event that has that and is fine otherwise."""

from __future__ import annotations

import typing as t

TIME_MS = 1350273990000  # 2012-10-15 04:06:30 UTC


def event(**properties: t.Any) -> dict[str, t.Any]:
    """Return a valid event with these properties, `None` for one that it shall not have."""
    whole = {"event_name": "login", "user_id": "u1", "event_timestamp_epoch": TIME_MS, **properties}
    return {name: value for name, value in whole.items() if value is not None}
