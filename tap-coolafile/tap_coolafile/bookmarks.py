"""What state remembers of one URI: in goes its place in the state, out come verdicts on listed files, and a new place.

A run is a pass over each URI's listing in key order. While a pass goes on, state holds when it began by the server's
clock, the key it has reached (a resumed pass lists from there) and the position inside the file in hand. Besides,
state holds a short identity of each file done: all of those stamped within `lookback_hours` of the pass, and the newest
2,000 anyhow, so that small collections are compared one by one for ever. A file whose stamp is older than anything
forgotten (`done_before`) counts as done. Strings and integers only; bounded, over all URIs together, by `room.py`; no
secrets.
"""

from __future__ import annotations

import heapq
import json
import typing as t

import msgspec

from tap_coolafile import identities
from tap_coolafile.identities import etag_of, key_of, stamp_of
from tap_coolafile.memory import Memory, Storage
from tap_coolafile.places import Position

if t.TYPE_CHECKING:
    from tap_coolafile.identities import Done
    from tap_coolafile.places import Place
    from tap_coolafile.sources.base import FileItem

KEPT_ANYHOW = 2_000
MAX_ARCHIVED = 5_000

Verdict = t.Literal["new", "done", "changed", "retry"]


class Bookmark(Memory):
    """Progress on one URI.

    Verdicts come from `verdict`; what happened is told by `begin`, `at`, `finish`, `fail` and `put_off`.
    """

    def __init__(self, place: Place, *, lookback_ms: int) -> None:
        super().__init__(place)
        self.storage = Storage()
        self._lookback_ms = lookback_ms
        self._key = ("", key_of(""))
        self.forgotten = self.forgotten_early = self.archived_forgotten = self.pending_forgotten = 0
        if any(not position.missing for position in place.pending) and not place.forget_before:
            # Files done are told by their identities, so the listing can begin anew, and come by the pending ones.
            place.reached = ""
        if not place.reached:
            for done in self._recent.values():
                done.passed = False
        self._met: list[Done] = []
        self._vanished = {*self.pending, *self._archived} if not place.reached else set()

    @property
    def first_pass(self) -> bool:
        """Whether nothing was ever read here."""
        return not (self._recent or self._place.done_before or self._place.reached or self._place.file)

    @property
    def is_empty(self) -> bool:
        """Whether state need not hold anything of it."""
        return self.first_pass and not self.pending and not self._archived

    @property
    def reached(self) -> str:
        """The key up to which an interrupted pass came; empty at the start of one."""
        return self._place.reached

    def begin(self, now_ms: int) -> None:
        """Start a pass, unless an interrupted one is to be resumed."""
        if not self._place.pass_started:
            self._place.pass_started = now_ms

    def verdict(self, item: FileItem) -> Verdict:
        """Tell what `item` is to this pass; a done one is passed with the next file that is not.

        What another place knows of it is known here from now on.
        """
        key = self._key_of(item)
        if (holder := self._holder(item)) is not None and holder is not self:
            holder.hand_over(self, item.path, key)
            self.storage.note(key, self)
        if self._vanished:
            self._vanished -= {item.path, key}
        if (position := self.pending.get(item.path)) is not None and position.missing:
            self.pending[item.path] = msgspec.structs.replace(position, missing=0)
        verdict = self.foresee(item)
        if verdict == "done" and (known := self._recent.get(key)) is not None:
            self._met.append(known)
        return verdict

    def foresee(self, item: FileItem) -> Verdict:
        """Tell what the verdict on `item` will be, without passing it."""
        holder = self._holder(item)
        if holder is None:
            return "done" if self.passes_over(item) or self.storage.passes_over(item) else "new"
        if holder.position(item.path) is not None:
            return "retry"
        known = holder.recalled(self._key_of(item))
        if known is None:
            return "new"  # it lay in an archive
        return "done" if known.etag == etag_of(item.etag) else "changed"

    def known(self, item: FileItem) -> Position:
        """Return where the reading of a changed or pending file, or of the file in hand, ended."""
        holder = self._holder(item) or self
        if (position := holder.position(item.path)) is not None:
            return position
        done = t.cast("Done", holder.recalled(self._key_of(item)))
        return Position(item.path, "", offset=done.size, line=done.lines, head=done.head)

    def at(self, position: Position) -> None:
        """Note the position inside the file in hand."""
        self._let_go(position.path)
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

    def put_off(self, item: FileItem) -> None:
        """Note that `item`, which is not done, lies in an archive: however old, it is read once it is restored."""
        if self.file is not None and self.file.path == item.path:
            self.pending[item.path], self._place.file = self.file, None
        elif item.path in self.pending or self._key_of(item) in self._archived:
            return
        elif len(self._archived) < MAX_ARCHIVED:
            self._archived[self._key_of(item)] = None
        else:
            self.archived_forgotten += 1

    def end(self) -> None:
        """Finish the pass: forget identities older than the window, except the newest ones.

        A file pending that the pass did not come by keeps its position, and loses it once it is away longer than that.
        """
        self._let_go("")
        window = self._place.pass_started - self._lookback_ms
        for name in self._vanished:
            self._archived.pop(name, None)
            if (position := self.pending.get(name)) is None:
                continue
            if not position.missing:
                self.pending[name] = msgspec.structs.replace(position, missing=self._place.pass_started)
            elif position.missing < window:
                self._forget_pending(name)
        older = sorted((done.mtime_ms, key) for key, done in self._recent.items() if done.mtime_ms < window)
        for mtime_ms, key in older[: max(len(self._recent) - KEPT_ANYHOW, 0)]:
            del self._recent[key]
            self._place.forget_before = max(self._place.forget_before, mtime_ms + 1)
        self._met.clear()
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
    def archived(self) -> int:
        """How many files are known to lie in an archive."""
        return len(self._archived)

    @property
    def pending_bytes(self) -> int:
        """How much of the state files pending take."""
        return sum(map(_bytes_of, self.pending.values()))

    @property
    def missing(self) -> list[Position]:
        """Files pending that listings do not show."""
        return [position for position in self.pending.values() if position.missing]

    @property
    def done_before(self) -> int:
        """The stamp before which files count as done, at the latest from the end of the pass on."""
        return max(self._place.done_before, self._place.forget_before)

    @property
    def left(self) -> int:
        """When the URI was found to be configured no longer; 0 while it is."""
        return self._place.left

    def leave(self, now_ms: int) -> None:
        """Note that the URI is configured no longer, or, at 0, that it is."""
        self._place.left = now_ms

    def forget(self, count: int) -> int:
        """Drop the identities of the oldest stamps, at most `count`; whatever is as old counts as done. Say how many.

        In the middle of a pass that holds from its end on where the pass has come by the file, and else at once, as the
        pass is still to come by it: a file that is as old, and not read yet, is then outside of the window.
        """
        in_pass, window = self._place.pass_started > 0, self._place.pass_started - self._lookback_ms
        oldest = heapq.nsmallest(
            count, ((done.mtime_ms, in_pass and not done.passed, key) for key, done in self._recent.items())
        )
        for mtime_ms, ahead, key in oldest:
            del self._recent[key]
            if in_pass and not ahead:
                self._place.forget_before = max(self._place.forget_before, mtime_ms + 1)
            else:
                self._place.done_before = max(self._place.done_before, mtime_ms + 1)
            self.forgotten_early += not in_pass or mtime_ms >= window
        self.forgotten += len(oldest)
        return len(oldest)

    def forget_archived(self, count: int) -> int:
        """Drop at most `count` of the files that lie in an archive; say how many."""
        dropped = list(self._archived)[-count:] if count > 0 else []
        for key in dropped:
            del self._archived[key]
        self.archived_forgotten += len(dropped)
        return len(dropped)

    def forget_missing(self, path: str) -> int:
        """Drop the position of a file pending that listings do not show; say how much of the state it took."""
        size = _bytes_of(self.pending[path])
        self._forget_pending(path)
        return size

    def to_builtins(self) -> t.Any:
        """Return this URI's part of the state, of strings and integers only."""
        self._place.passed = "".join(done.text for done in self._recent.values() if done.passed)
        self._place.recent = "".join(done.text for done in self._recent.values() if not done.passed)
        self._place.pending = list(self.pending.values())
        self._place.archived = "".join(self._archived)
        return msgspec.to_builtins(self._place)

    def _holder(self, item: FileItem) -> Memory | None:
        """Return the place that knows of the file one by one, this one before others."""
        key = self._key_of(item)
        return self if self.holds(item.path, key) else self.storage.holder(item, key, self)

    def _leave(self, item: FileItem) -> None:
        self._let_go(item.path)
        self._place.reached = item.path
        self._place.file = None
        for done in self._met:  # a pass resumed from here does not come by them again
            done.passed = True
        self._met.clear()
        self.pending.pop(item.path, None)
        if self._archived:
            self._archived.pop(self._key_of(item), None)

    def _let_go(self, path: str) -> None:
        """Keep the position of a file that was in hand when the listing went on to `path` without showing it."""
        file = self._place.file
        if file is not None and file.path != path:
            self.pending[file.path] = msgspec.structs.replace(file, missing=self._place.pass_started)
            self._vanished.discard(file.path)
            self._place.file = None

    def _forget_pending(self, path: str) -> None:
        del self.pending[path]
        self.pending_forgotten += 1

    def _key_of(self, item: FileItem) -> str:
        known = self._key  # one object, as the listing is looked at from another thread too
        if known[0] != item.path:
            self._key = known = (item.path, key_of(item.path))
        return known[1]


def _bytes_of(position: Position) -> int:
    return 2 * len(json.dumps(position.path)) + 175
