"""What places know of files, one by one and by their stamps, and how one place finds what others know.

Each file is read once, however `uris` names it: what was read under one URI is known under another of the same storage,
also if it is configured no longer. Files are found by their paths, so storages whose files have no path that tells them
apart (http) share nothing. In go the names of places, out comes who holds a file.
"""

from __future__ import annotations

import re
import typing as t

import msgspec

from tap_coolafile import identities
from tap_coolafile.identities import etag_of, key_of, stamp_of
from tap_coolafile.places import recent_of

if t.TYPE_CHECKING:
    from tap_coolafile.identities import Done
    from tap_coolafile.places import Place, Position
    from tap_coolafile.sources.base import FileItem

_BUCKETS = frozenset({"s3", "gs", "azure"})
_FOLDERS = frozenset({"file", "sftp"})


class Memory:
    """The files that one place knows: done, pending, in hand, archived, or older than what it forgot."""

    def __init__(self, place: Place) -> None:
        """Take over what state holds."""
        self._place = place
        self.pending = {position.path: position for position in place.pending}
        self._recent = recent_of(place)
        self._archived = dict.fromkeys(identities.keys_in(place.archived))

    @property
    def file(self) -> Position | None:
        """Where an interrupted pass stopped inside a file."""
        return self._place.file

    def position(self, path: str) -> Position | None:
        """Return the position in a file in hand or pending; in hand, it is further than where it was pending."""
        file = self._place.file
        return file if file is not None and file.path == path else self.pending.get(path)

    def recalled(self, key: str) -> Done | None:
        """Return the identity of a file done."""
        return self._recent.get(key)

    def holds(self, path: str, key: str) -> bool:
        """Tell whether the file is known one by one."""
        return key in self._recent or key in self._archived or self.position(path) is not None

    def known_keys(self) -> set[str]:
        """Return the keys of all files known one by one."""
        positions = [*self.pending, *([self.file.path] if self.file is not None else [])]
        return {*self._recent, *self._archived, *map(key_of, positions)}

    def passes_over(self, item: FileItem) -> bool:
        """Tell whether a file that is not known counts as done, being as old as files that were forgotten."""
        stamp, place = stamp_of(item.mtime_ms), self._place
        return stamp < place.done_before or (stamp < place.forget_before and item.path <= place.reached)

    def hand_over(self, other: Memory, path: str, key: str) -> None:
        """Let another place know of the file, instead of this one."""
        if (position := self.position(path)) is not None:
            other.pending[path] = msgspec.structs.replace(position, missing=0)
        if (done := self._recent.pop(key, None)) is not None:
            done.passed = False
            other._recent[key] = done
        if key in self._archived:
            del self._archived[key]
            other._archived[key] = None
        self.pending.pop(path, None)
        if self.file is not None and self.file.path == path:
            self._place.file = None


class Storage:
    """The places of one bucket, host, or of the local files."""

    def __init__(self) -> None:
        """Know of none."""
        self._holders: dict[str, list[Memory]] = {}
        self._prefixes: dict[str, Memory] = {}

    def add(self, path: str, memory: Memory) -> None:
        """Add the place of a URI whose part behind the storage is `path`; the earlier ones are asked first."""
        for key in memory.known_keys():
            self.note(key, memory)
        if (not path or path.endswith("/")) and not re.search(r"[*?[%]", path):
            self._prefixes[path] = memory

    def note(self, key: str, memory: Memory) -> None:
        """Note that a place knows a file one by one."""
        holders = self._holders.setdefault(key, [])
        if memory not in holders:
            holders.append(memory)

    def holder(self, item: FileItem, key: str, asking: Memory) -> Memory | None:
        """Return who knows a file one by one: rather one who knows it as it is now."""
        holders = [other for other in self._holders.get(key, ()) if other.holds(item.path, key)]
        if asking in holders or not holders:
            return asking if holders else None
        etag = etag_of(item.etag)
        same = (other for other in holders if (done := other.recalled(key)) is not None and done.etag == etag)
        return next(same, holders[0])

    def passes_over(self, item: FileItem) -> bool:
        """Tell whether a prefix that holds the file has forgotten files that are as new."""
        end, path = 0, item.path
        while True:
            memory = self._prefixes.get(path[:end])
            if memory is not None and memory.passes_over(item):
                return True
            end = path.find("/", end) + 1
            if not end:
                return False


def connect(places: t.Iterable[tuple[str, Memory]]) -> dict[str, Storage]:
    """Let the places of the same storage know each other: return the storage of each name that has one."""
    storages, found = dict[str, Storage](), dict[str, Storage]()
    for name, memory in places:
        scheme, _, rest = name.partition("://")
        if scheme not in _BUCKETS | _FOLDERS:
            continue
        host, slash, path = rest.partition("/")
        found[name] = storages.setdefault(f"{scheme}://{host}", Storage())
        found[name].add(path if scheme in _BUCKETS else slash + path, memory)
    return found
