"""What object storages share, whatever their client library: waiting for a server, its clock, mending a download."""

from __future__ import annotations

import email.utils
import time
import typing as t

from tap_coolafile.exceptions import BadFileError

if t.TYPE_CHECKING:
    from tap_coolafile.sources.base import FileItem, Handle

ATTEMPTS = 5
_PATIENCE_S = 60
_FIRST_PATIENCE_S = 2
_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5
_T = t.TypeVar("_T")

Kinds = tuple[type[Exception], ...]


class Patience:
    """Asks a server: one that answered before and is `away` now is waited for, as it may be starting again.

    What is of a `busy` kind is asked again too, after pauses that grow, and the first call for two seconds; none of
    that where the client library sees to it, which is told by giving no `busy` kinds.
    """

    def __init__(self, away: Kinds, busy: Kinds = ()) -> None:
        self._away = away
        self._busy = busy
        self._answered = False

    def ask(self, call: t.Callable[[], _T]) -> _T:
        """Return what `call` returns.

        Raises:
            Exception: what `call` raised at last.
        """
        first_s = _FIRST_PATIENCE_S if self._busy else 0
        until = time.monotonic() + (_PATIENCE_S if self._answered else first_s)
        busy = 0
        while True:
            try:
                answer = call()
            except self._busy:
                busy += 1
                if busy == ATTEMPTS:
                    raise
                pause(busy)
            except self._away:
                if time.monotonic() >= until:
                    raise
                time.sleep(_PAUSE_S)
            else:
                self._answered = True
                return answer


def paged(page: t.Callable[[str | None], tuple[list[_T], str | None]]) -> t.Iterator[_T]:
    """Yield what all pages of a listing hold; `page` takes the token of one and returns what it holds and the next."""
    token: str | None = None
    while True:
        found, token = page(token)
        yield from found
        if not token:
            return


class Clock:
    """A server's clock, as the Date header of its last answer told it."""

    def __init__(self) -> None:
        self._skew_ms = 0

    def set(self, date: str | None) -> None:
        """Take note of a Date header; none, or one that is no date, tells nothing."""
        if date and (stamp_ms := date_ms(date)) is not None:
            self._skew_ms = stamp_ms - _now_ms()

    def now_ms(self) -> int:
        """Return the server's time in milliseconds; this machine's before any answer."""
        return _now_ms() + self._skew_ms


class Download:
    """A body being read; a break is mended by asking again, for the same content, from the byte it came at.

    `connect` opens the item at a byte, provided that it is still as it was listed, and returns None past its end;
    `broken` is what reading from the body raises when the connection breaks.
    """

    def __init__(
        self, connect: t.Callable[[FileItem, int], Handle | None], item: FileItem, offset: int, broken: Kinds
    ) -> None:
        self._connect = connect
        self._item = item
        self._offset = offset
        self._broken = broken
        self._body = connect(item, offset)

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            StorageError: the server cannot be reached any more.
            BadFileError: the object changed, or its connection broke again and again.
        """
        for attempt in range(1, ATTEMPTS + 1):
            if self._body is None:
                return b""
            try:
                data = self._body.read(size)
            except self._broken:
                self.close()
                pause(attempt)
                self._body = self._connect(self._item, self._offset)
            else:
                self._offset += len(data)
                return data
        msg = f"{self._item.name} broke off {ATTEMPTS} times at byte {self._offset}"
        raise BadFileError(msg)

    def close(self) -> None:
        """Close the connection."""
        if self._body is not None:
            self._body.close()


def date_ms(header: str) -> int | None:
    """Read a date as HTTP headers write it; milliseconds since 1970 UTC, None if it is none."""
    try:
        return int(email.utils.parsedate_to_datetime(header).timestamp() * 1000)
    except ValueError:
        return None


def pause(attempt: int) -> None:
    """Wait between two attempts: 0.4 s after the first, twice that after the second, and so on, at most 5 s."""
    time.sleep(min(0.2 * 2**attempt, _LONGEST_PAUSE_S))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
