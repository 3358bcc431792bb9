"""Property names that CoolaData takes.

In: the name of a property, with or without a scope prefix `{u}` (user) or `{s}` (session). Out: a name that begins
with a letter and holds letters, digits and underscores only, is none of CoolaData's reserved names or CQL words, and
keeps its prefix. The same name always gives the same result, unless two names of one run would give the same: then the
later one gets a hash.
"""

from __future__ import annotations

import hashlib
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
MAX_REMEMBERED = 10_000  # more names than that are values
TAKEN = RESERVED | CQL_WORDS | MANDATORY

_PREFIX = re.compile(r"\{[us]\}")
_ALLOWED = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_SEPARATORS = re.compile(r"[. /-]")
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_]")


def split_scope(name: str) -> tuple[str, str]:
    """Split a name into its scope prefix, or an empty string, and the rest."""
    found = _PREFIX.match(name)
    return (found[0], name[3:]) if found else ("", name)


def told_as(name: str, column: str) -> str:
    """Say a property as logs and report may: the keys within an object may be data, so only the column is named."""
    return name if name == column else f"{column}_..."


def is_allowed(name: str) -> bool:
    """Whether CoolaData takes a name, without its prefix, as it is."""
    return bool(_ALLOWED.fullmatch(name)) and name.lower() not in TAKEN


def sanitize(name: str) -> str:
    """Make a name, without its prefix, one that CoolaData takes.

    A dot, blank, dash or slash becomes `_`. Any other forbidden character does too, and then a hash of the whole name
    is put behind it, because otherwise every name in another script would become the same one. What does not begin
    with a letter gets `p_` in front; what is reserved gets `_` behind.
    """
    if is_allowed(name):
        return name
    mended = _SEPARATORS.sub("_", name)
    plain = _FORBIDDEN.sub("_", mended)
    if not plain[:1].isalpha():
        plain = "p_" + plain.lstrip("_")
    if not _ALLOWED.fullmatch("p" + mended):
        return hashed(plain, name)
    return plain + "_" if plain.lower() in TAKEN else plain


def hashed(mended: str, name: str) -> str:
    """Put a hash of the original name behind a mended one."""
    return f"{mended}_{hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=4).hexdigest()}"


class NameBook:
    """Remembers under which name each property of a run is sent, so that no two that were mended share one.

    Attributes:
        told: what is sent, by the property's own name, as it may be said in logs and report.
        shared: mended names that a property of that very name turned out to have too.
    """

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self._changed: dict[str, str] = {}
        self.shared: set[str] = set()
        self._owners: dict[str, str] = {}

    def sent(self, name: str, told: str) -> str:
        """Give the name that a property is sent under.

        Args:
            name: its own name, without its prefix.
            told: how it may be told of.
        """
        found = self._changed.get(name)
        if found is None:
            if is_allowed(name):
                self._own(name, told)
                return name
            found = sanitize(name)
            if self._owners.get(found.lower(), name) != name:
                found = hashed(found, name)
            if len(self._changed) < MAX_REMEMBERED:
                self._tell(name, found, told)
                self._owners[found.lower()] = name
        return found

    def set_apart(self, name: str, told: str) -> str:
        """Put a hash behind a mended name from now on: another property has stood beside it under that name."""
        found = hashed(sanitize(name), name)
        self._tell(name, found, told)
        return found

    def _tell(self, name: str, found: str, told: str) -> None:
        self._changed[name] = found
        self.told[told] = found if told == name else "names without what CoolaData refuses"

    def _own(self, name: str, told: str) -> None:
        owner = self._owners.setdefault(name.lower(), name) if len(self._owners) < MAX_REMEMBERED else name
        if owner != name and not is_allowed(owner):
            self.shared.add(told)
