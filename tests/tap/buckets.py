"""What the tests of every object storage put into it, and expect of it."""

from __future__ import annotations

from tests.tap.conftest import event

KEYS = ["in/a b.json", "in/a+b.json", "in/a%20b.json", "in/é東.json", "in/deep/er.json", "in/'q'&=?.json", "in/z.json"]
"""Keys in which something may be mistaken for something else."""

GLOBS = [
    ("in/*.json", [key for key in sorted(KEYS) if "deep" not in key]),
    ("**/?.json", ["in/z.json", "other/x.json"]),
    ("in/de[d-f]p/*", ["in/deep/er.json"]),
]
"""Globs, and what they match of `objects()`."""

USERS = [f"u{number}" for number in range(20_000)]
ROWS = "".join(event(number) + "\n" for number in range(20_000)).encode()
"""Two megabytes of rows, which take several reads, and their users."""


def objects() -> dict[str, bytes]:
    """`KEYS` in their order, an event of the user `u0`, `u1`, … in each, and what lies beside them."""
    found = {key: event(number).encode() for number, key in enumerate(sorted(KEYS))}
    return {**found, "other/x.json": event(100).encode()}
