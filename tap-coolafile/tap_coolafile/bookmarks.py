"""What state remembers: in goes the Singer state of an earlier run, out come verdicts on listed files, and new state.

A run is a pass over each URI's listing in key order. While a pass goes on, state holds when it began by the server's
clock, the key it has reached (a resumed pass lists from there) and the position inside the file in hand. Besides,
state holds a short identity of each file done: all of those stamped within `lookback_hours` of the pass, and the newest
2,000 anyhow, so that small collections are compared one by one for ever. A file whose stamp is older than anything
forgotten (`done_before`) counts as done. Strings and integers only; bounded; no secrets. Refuses the state of another
version or another shard.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import typing as t

import msgspec

from tap_coolafile.exceptions import StateError

if t.TYPE_CHECKING:
    from tap_coolafile.sources.base import FileItem

VERSION = 1
MAX_RECENT = 20_000
KEPT_ANYHOW = 2_000
_MAX_PENDING_BYTES = 100_000

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


class Done(msgspec.Struct):
    """Identity of a file done: short hashes of its ETag and of the bytes read, its stamp, how many bytes and lines.

    `passed` tells whether the pass that goes on has come by it.
    """

    etag: str
    head: str
    mtime_ms: int
    size: int
    lines: int
    passed: bool

    def encode(self, key: str) -> str:
        """Write as one text, as short as it goes: there may be 20,000."""
        mark = "+" if self.passed else "-"
        return f"{mark}{key}{self.etag}{self.head}{self.mtime_ms:x}.{self.size:x}.{self.lines:x}"


class Place(msgspec.Struct, omit_defaults=True):
    """State of one URI, as it stands in the Singer state (`recent` and `pending` are kept apart while running)."""

    pass_started: int = 0
    reached: str = ""
    done_before: int = 0
    forget_before: int = 0
    recent: list[str] = []
    pending: list[Position] = []
    file: Position | None = None


class Bookmark:
    """Progress on one URI. Verdicts come from `verdict`; what happened is told by `begin`, `at`, `finish`, `fail`."""

    def __init__(self, place: Place, *, lookback_ms: int, capacity: int = MAX_RECENT) -> None:
        self._place = place
        self._capacity = capacity
        self._lookback_ms = lookback_ms
        self.pending = {position.path: position for position in place.pending}
        self._recent: dict[str, Done] = dict(_decoded(text) for text in place.recent)
        self._passed = [(done.mtime_ms, key) for key, done in self._recent.items() if done.passed]
        heapq.heapify(self._passed)
        self.shrunk = 0
        if self.pending and not place.forget_before:
            # Files done are told by their identities, so the listing can begin anew, and come by the pending ones.
            place.reached = ""
        self._vanished = set(self.pending) if not place.reached else set()

    @property
    def first_pass(self) -> bool:
        """Whether nothing was ever read here."""
        return not (self._recent or self._place.done_before or self._place.reached or self._place.file)

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
        if verdict == "done" and (known := self._recent.get(_short(item.path, 10))) is not None:
            self._pass(_short(item.path, 10), known)
        return verdict

    def foresee(self, item: FileItem) -> Verdict:
        """Tell what the verdict on `item` will be, without passing it."""
        if item.path in self.pending or (self.file is not None and self.file.path == item.path):
            return "retry"
        known = self._recent.get(_short(item.path, 10))
        if known is None:
            return "done" if item.mtime_ms < self._place.done_before else "new"
        return "done" if known.etag == _short(item.etag, 6) else "changed"

    def known(self, item: FileItem) -> Position:
        """Return where the reading of a changed or pending file, or of the file in hand, ended."""
        if item.path in self.pending:
            return self.pending[item.path]
        if self.file is not None and self.file.path == item.path:
            return self.file
        done = self._recent[_short(item.path, 10)]
        return Position(item.path, "", offset=done.size, line=done.lines, head=done.head)

    def at(self, position: Position) -> None:
        """Note the position inside the file in hand."""
        self._place.file = position

    def finish(self, item: FileItem, end: Position) -> None:
        """Note that `item` is done, having been read up to `end`."""
        self._leave(item)
        key = _short(item.path, 10)
        stamp = max(item.mtime_ms, 0)
        done = Done(_short(item.etag, 6), end.head or "------", stamp, end.offset, end.line, passed=False)
        self._recent[key] = done
        self._pass(key, done)
        while len(self._recent) > self._capacity and self._passed:
            self._forget_oldest()

    def fail(self, item: FileItem, position: Position) -> None:
        """Note that `item` is a bad file: it stays pending for the next run, from `position` on.

        Raises:
            StateError: so many files are pending that state cannot name them.
        """
        self._leave(item)
        self.pending[item.path] = position
        if sum(len(path) + 100 for path in self.pending) > _MAX_PENDING_BYTES:
            msg = f"{len(self.pending)} files cannot be loaded, more than state can keep; narrow uris"
            raise StateError(msg)

    def end(self) -> None:
        """Finish the pass: forget identities older than the window, except the newest ones."""
        for path in self._vanished:
            self.pending.pop(path, None)
        window = self._place.pass_started - self._lookback_ms
        for key, done in self._recent.items():
            self._pass(key, done)
        kept = min(KEPT_ANYHOW, self._capacity)
        while self._passed and len(self._recent) > kept and self._passed[0][0] < window:
            self._forget_oldest()
        for done in self._recent.values():
            done.passed = False
        self._passed = []
        self._place.done_before = max(self._place.done_before, self._place.forget_before)
        self._place.pass_started, self._place.reached, self._place.forget_before = 0, "", 0
        self._place.file = None

    def to_builtins(self) -> t.Any:
        """Return this URI's part of the state, of strings and integers only."""
        self._place.recent = [done.encode(key) for key, done in self._recent.items()]
        self._place.pending = list(self.pending.values())
        return msgspec.to_builtins(self._place)

    def _leave(self, item: FileItem) -> None:
        self._place.reached = item.path
        self._place.file = None
        self.pending.pop(item.path, None)

    def _pass(self, key: str, done: Done) -> None:
        if not done.passed:
            done.passed = True
            heapq.heappush(self._passed, (done.mtime_ms, key))

    def _forget_oldest(self) -> None:
        """Drop the identity with the oldest stamp among those passed, and whatever is as old counts as done."""
        mtime_ms, key = heapq.heappop(self._passed)
        known = self._recent.get(key)
        if known is None or known.mtime_ms != mtime_ms:
            return
        del self._recent[key]
        self._place.forget_before = max(self._place.forget_before, mtime_ms + 1)
        if mtime_ms >= self._place.pass_started - self._lookback_ms:
            self.shrunk += 1


def load(state: t.Mapping[str, t.Any], shard: str) -> dict[str, Place]:
    """Read the stream's part of a Singer state: one place per URI name.

    Raises:
        StateError: it was written by another version or for another shard, or is damaged.
    """
    version = state.get("version", VERSION)
    if version != VERSION:
        msg = f"state has version {version}, this tap reads version {VERSION}; start from an empty state, or reinstall"
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
            for text in place.recent:
                _decoded(text)
    except (msgspec.ValidationError, ValueError, IndexError):
        msg = "state is damaged: its bookmarks are not what this tap writes; start from an empty state"
        raise StateError(msg) from None
    return places


def _decoded(text: str) -> tuple[str, Done]:
    mtime, size, lines = (int(number, 16) for number in text[23:].split("."))
    return text[1:11], Done(text[11:17], text[17:23], mtime, size, lines, text[0] == "+")


def _short(text: str, length: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode(errors="surrogateescape")).digest())[:length].decode()
