"""What state remembers: in goes the Singer state of an earlier run, out come verdicts on listed files, and new state.

A run is a pass over each URI's listing in key order. While a pass goes on, state holds when it began by the server's
clock, the key it has reached (a resumed pass lists from there) and the position inside the file in hand. Besides,
state holds a short identity of each file done: all of those stamped within `lookback_hours` of the pass, and the newest
2,000 anyhow, so that small collections are compared one by one for ever. A file whose stamp is older than anything
forgotten (`done_before`) counts as done. Strings and integers only; bounded, over all URIs together, by `room.py`; no
secrets. Refuses the state of another version or another shard.
"""

from __future__ import annotations

import heapq
import json
import typing as t

import msgspec

from tap_coolafile import identities
from tap_coolafile.exceptions import StateError
from tap_coolafile.identities import Done, etag_of, key_of, stamp_of

if t.TYPE_CHECKING:
    from tap_coolafile.sources.base import FileItem

VERSION = 2
_VERSIONS_READ = (1, 2)
KEPT_ANYHOW = 2_000

Verdict = t.Literal["new", "done", "changed", "retry"]


class Position(msgspec.Struct, omit_defaults=True):
    """A place inside one file: everything before `offset` (bytes) was read, and acknowledged by a STATE.

    `line` counts the lines before it, `rows` and `invalid` those among them that were not blank and that were
    rejected. `head` identifies the bytes read (see reading.Head).
    """

    path: str
    etag: str
    offset: int = 0
    line: int = 0
    rows: int = 0
    invalid: int = 0
    head: str = ""


class Place(msgspec.Struct, omit_defaults=True):
    """State of one URI, as it stands in the Singer state.

    `passed` and `recent` are identities of files done, those that the pass which goes on has come by and the others;
    they and `pending` are kept apart while running. `left` is when the URI was found to be configured no longer.
    """

    pass_started: int = 0
    reached: str = ""
    done_before: int = 0
    forget_before: int = 0
    left: int = 0
    passed: str = ""
    recent: str | list[str] = ""
    pending: list[Position] = []
    file: Position | None = None


class Bookmark:
    """Progress on one URI. Verdicts come from `verdict`; what happened is told by `begin`, `at`, `finish`, `fail`."""

    def __init__(self, place: Place, *, lookback_ms: int) -> None:
        self._place = place
        self._lookback_ms = lookback_ms
        self.pending = {position.path: position for position in place.pending}
        self._recent = _recent_of(place)
        self._key = ("", key_of(""))
        self.forgotten = self.forgotten_early = 0
        if self.pending and not place.forget_before:
            # Files done are told by their identities, so the listing can begin anew, and come by the pending ones.
            place.reached = ""
        self._vanished = set(self.pending) if not place.reached else set()

    @property
    def first_pass(self) -> bool:
        """Whether nothing was ever read here."""
        return not (self._recent or self._place.done_before or self._place.reached or self._place.file)

    @property
    def is_empty(self) -> bool:
        """Whether state need not hold anything of it."""
        return self.first_pass and not self.pending

    @property
    def reached(self) -> str:
        """The key up to which an interrupted pass came; empty at the start of one."""
        return self._place.reached

    @property
    def file(self) -> Position | None:
        """Where an interrupted pass stopped inside a file."""
        return self._place.file

    def begin(self, now_ms: int) -> None:
        """Start a pass, unless an interrupted one is to be resumed."""
        if not self._place.pass_started:
            self._place.pass_started = now_ms

    def verdict(self, item: FileItem) -> Verdict:
        """Tell what `item` is to this pass; a done one is thereby passed."""
        self._vanished.discard(item.path)
        verdict = self.foresee(item)
        if verdict == "done" and (known := self._recent.get(self._key_of(item))) is not None:
            known.passed = True
        return verdict

    def foresee(self, item: FileItem) -> Verdict:
        """Tell what the verdict on `item` will be, without passing it."""
        file = self._place.file
        if item.path in self.pending or (file is not None and file.path == item.path):
            return "retry"
        known = self._recent.get(self._key_of(item))
        if known is None:
            return "done" if stamp_of(item.mtime_ms) < self._place.done_before else "new"
        return "done" if known.etag == etag_of(item.etag) else "changed"

    def known(self, item: FileItem) -> Position:
        """Return where the reading of a changed or pending file, or of the file in hand, ended."""
        if item.path in self.pending:
            return self.pending[item.path]
        if self.file is not None and self.file.path == item.path:
            return self.file
        done = self._recent[self._key_of(item)]
        return Position(item.path, "", offset=done.size, line=done.lines, head=done.head)

    def at(self, position: Position) -> None:
        """Note the position inside the file in hand."""
        self._place.file = position

    def finish(self, item: FileItem, end: Position) -> None:
        """Note that `item` is done, having been read up to `end`."""
        self._leave(item)
        key = self._key_of(item)
        self._recent[key] = done = identities.made(
            key, etag_of(item.etag), end.head, mtime_ms=stamp_of(item.mtime_ms), size=end.offset, lines=end.line
        )
        done.passed = True

    def fail(self, item: FileItem, position: Position) -> None:
        """Note that `item` is a bad file: it stays pending for the next run, from `position` on."""
        self._leave(item)
        self.pending[item.path] = position

    def end(self) -> None:
        """Finish the pass: forget identities older than the window, except the newest ones."""
        for path in self._vanished:
            self.pending.pop(path, None)
        window = self._place.pass_started - self._lookback_ms
        older = sorted((done.mtime_ms, key) for key, done in self._recent.items() if done.mtime_ms < window)
        for mtime_ms, key in older[: max(len(self._recent) - KEPT_ANYHOW, 0)]:
            del self._recent[key]
            self._place.forget_before = max(self._place.forget_before, mtime_ms + 1)
        for done in self._recent.values():
            done.passed = False
        self._place.done_before = max(self._place.done_before, self._place.forget_before)
        self._place.pass_started, self._place.reached, self._place.forget_before = 0, "", 0
        self._place.file = None

    # What state has room for

    @property
    def remembered(self) -> int:
        """How many files are known one by one."""
        return len(self._recent)

    @property
    def pending_bytes(self) -> int:
        """How much of the state files pending take."""
        return sum(len(json.dumps(path)) + len(json.dumps(at.path)) + 150 for path, at in self.pending.items())

    @property
    def left(self) -> int:
        """When the URI was found to be configured no longer; 0 while it is."""
        return self._place.left

    def leave(self, now_ms: int) -> None:
        """Note that the URI is configured no longer, or, at 0, that it is."""
        self._place.left = now_ms

    def forget(self, count: int) -> int:
        """Drop the identities of the oldest stamps, at most `count`; whatever is as old counts as done. Say how many.

        In the middle of a pass those that it has come by go first, as what is as old is then done from its end on.
        """
        in_pass, window = self._place.pass_started > 0, self._place.pass_started - self._lookback_ms
        oldest = heapq.nsmallest(
            count, ((in_pass and not done.passed, done.mtime_ms, key) for key, done in self._recent.items())
        )
        for ahead, mtime_ms, key in oldest:
            del self._recent[key]
            if in_pass and not ahead:
                self._place.forget_before = max(self._place.forget_before, mtime_ms + 1)
            else:
                self._place.done_before = max(self._place.done_before, mtime_ms + 1)
            self.forgotten_early += not in_pass or mtime_ms >= window
        self.forgotten += len(oldest)
        return len(oldest)

    def to_builtins(self) -> t.Any:
        """Return this URI's part of the state, of strings and integers only."""
        self._place.passed = "".join(done.text for done in self._recent.values() if done.passed)
        self._place.recent = "".join(done.text for done in self._recent.values() if not done.passed)
        self._place.pending = list(self.pending.values())
        return msgspec.to_builtins(self._place)

    def _leave(self, item: FileItem) -> None:
        self._place.reached = item.path
        self._place.file = None
        self.pending.pop(item.path, None)

    def _key_of(self, item: FileItem) -> str:
        known = self._key  # one object, as the listing is looked at from another thread too
        if known[0] != item.path:
            self._key = known = (item.path, key_of(item.path))
        return known[1]


def load(state: t.Mapping[str, t.Any], shard: str) -> dict[str, Place]:
    """Read the stream's part of a Singer state: one place per URI name.

    Raises:
        StateError: it was written by another version or for another shard, or is damaged.
    """
    version = state.get("version", VERSION)
    if version not in _VERSIONS_READ:
        msg = (
            f"state has version {version}, this tap reads {VERSION} and older; start from an empty state, or reinstall"
        )
        raise StateError(msg)
    if "places" in state and state.get("shard", "") != shard:
        msg = (
            f"state belongs to shard {state.get('shard') or 'none'}, this run is shard {shard or 'none'}; "
            f"give each shard its own state, and keep shard_count"
        )
        raise StateError(msg)
    try:
        places = msgspec.convert(state.get("places", {}), dict[str, Place])
        for place in places.values():
            _check(place)
    except (msgspec.ValidationError, ValueError, IndexError):
        msg = "state is damaged: its bookmarks are not what this tap writes; start from an empty state"
        raise StateError(msg) from None
    return places


def _check(place: Place) -> None:
    if isinstance(place.recent, list):
        _recent_of(place)
    elif not (identities.is_sound(place.passed) and identities.is_sound(place.recent)):
        msg = "identities are damaged"
        raise ValueError(msg)


def _recent_of(place: Place) -> dict[str, Done]:
    if isinstance(place.recent, list):
        return dict(map(identities.decoded_first_version, place.recent))
    found = dict(identities.decoded(place.passed))
    for done in found.values():
        done.passed = True
    return found | dict(identities.decoded(place.recent))
