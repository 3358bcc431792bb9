"""A thread that makes things, and what of them was not yet taken: in goes an iterator's maker, out come its items.

The thread stops ahead of its taker at a limit on the weight of what waits. The taker never waits without looking, ten
times a second, whether a signal came: so a network that hangs holds up nobody who wants to end. Threads are daemons,
since one that hangs in a read cannot be ended, and must not hold up the process either.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import typing as t

_LOOK_S = 0.1
_T = t.TypeVar("_T")


class Conveyor(t.Generic[_T]):
    """Runs `make` in a thread, at most `limit` ahead; items weigh what `weigh` says. `check` raises after a signal."""

    def __init__(
        self,
        make: t.Callable[[], t.Generator[_T, None, None]],
        check: t.Callable[[], None],
        *,
        limit: int = 1,
        weigh: t.Callable[[_T], int] = lambda _: 1,
    ) -> None:
        self._make = make
        self._check = check
        self._limit = limit
        self._weigh = weigh
        self._changed = threading.Condition()
        self._made: collections.deque[_T] = collections.deque()
        self._weight = 0
        self._ended = self._closed = False
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def take(self, *, wait: bool = True) -> _T | None:
        """Take the next item; None after the last, or, if it is not to `wait`, while there is none.

        Raises:
            StoppedError: a signal came meanwhile.
            Exception: what ended `make`, in its turn.
        """
        with self._changed:
            while not self._made and not self._ended and wait:
                self._changed.wait(_LOOK_S)
                self._check()
            if self._made:
                item = self._made.popleft()
                self._weight -= self._weigh(item)
                self._changed.notify_all()
                return item
            if self._failure is not None and wait:
                raise self._failure
            return None

    def close(self) -> None:
        """Let the thread end where it next looks."""
        with self._changed:
            self._closed = True
            self._made.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            with contextlib.closing(self._make()) as items:
                for item in items:
                    if not self._put(item):
                        break
        except BaseException as error:  # noqa: BLE001 - whatever it is, the taker gets it
            failure = error
        with self._changed:
            self._failure, self._ended = failure, True
            self._changed.notify_all()

    def _put(self, item: _T) -> bool:
        """Hand over an item and wait for room; False once nobody takes any more."""
        with self._changed:
            if not self._closed:
                self._made.append(item)
                self._weight += self._weigh(item)
                self._changed.notify_all()
            while self._weight >= self._limit and not self._closed:
                self._changed.wait()
            return not self._closed


def aside(call: t.Callable[[], _T], check: t.Callable[[], None]) -> _T:
    """Do one call in a thread and return what it returns.

    Raises:
        StoppedError: a signal came first; the call goes on to its end, unheeded.
        Exception: whatever the call raises.
    """

    def made() -> t.Generator[tuple[_T], None, None]:
        yield (call(),)

    answer = Conveyor(made, check).take()
    if answer is None:  # pragma: no cover - `made` yields once or raises
        msg = "a call ended without an answer"
        raise RuntimeError(msg)
    return answer[0]
