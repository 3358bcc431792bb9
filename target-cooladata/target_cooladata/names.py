"""Property names that CoolaData takes.

In: the name of a property, with or without a scope prefix `{u}` (user) or `{s}` (session). Out: a name that begins
with a letter and holds letters, digits and underscores only, is none of CoolaData's reserved names or CQL words, and
keeps its prefix. The same name always gives the same result, whatever stands beside it.
"""

from __future__ import annotations

import re

# CoolaData, Properties page.
RESERVED = frozenset({
    "internal_user_id", "internal_session_id", "user_alias", "session_clean_path", "session_duration",
    "session_end_time_ts", "session_events_counter", "session_full_category_path", "session_full_clean_category_path",
    "session_full_clean_path", "session_full_path", "session_funnel_path", "session_serial_event_counter", "uid", "sid",
})  # fmt: skip
CQL_WORDS = frozenset({
    "select", "from", "where", "as", "null", "and", "between", "join", "left", "outer", "inner", "on",
})  # fmt: skip
# What every event has, and the other spellings of its time: a second meaning under these names would be taken for them.
MANDATORY = frozenset({"event_name", "user_id", "event_timestamp_epoch", "event_time_ts", "event_timestamp"})
TAKEN = RESERVED | CQL_WORDS | MANDATORY

_PREFIX = re.compile(r"\{[us]\}")
_ALLOWED = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_]")


def split_scope(name: str) -> tuple[str, str]:
    """Split a name into its scope prefix, or an empty string, and the rest."""
    found = _PREFIX.match(name)
    return (found[0], name[3:]) if found else ("", name)


def is_allowed(name: str) -> bool:
    """Whether CoolaData takes a name, without its prefix, as it is."""
    return bool(_ALLOWED.fullmatch(name)) and name.lower() not in TAKEN


def sanitize(name: str) -> str:
    """Make a name, without its prefix, one that CoolaData takes.

    What is forbidden becomes `_`; what does not begin with a letter gets `p_` in front; what is reserved gets `_`
    behind.
    """
    if is_allowed(name):
        return name
    name = _FORBIDDEN.sub("_", name)
    if not name[:1].isalpha():
        name = "p_" + name.lstrip("_")
    return name + "_" if name.lower() in TAKEN else name
