"""How many calls may be under way at once, and how often one may start.

In: how long each call took and whether it was pushed back. Out: a limit that finds what the server bears: it doubles
until the first push-back, then grows by one a round trip; push-back (429, 5xx, no answer) or a rising latency lowers
it. After Vector's adaptive concurrency controller (AIMD over an EWMA of the round trip); beyond it, each probe that is
pushed back doubles the time to the next one. It knows nothing of what is sent. `Controller` is arithmetic over a clock
that it is given; `Gate` makes threads wait for it.
"""

from __future__ import annotations

import statistics
import threading
import time
import typing as t

ALPHA = 0.4  # weight of the newest round in the averages; Vector's
DEVIATIONS = 2.5  # a round this far above the average counts as rising; Vector's
MIN_CALLS = 8  # fewer show no rise: their median is chance
MAX_RISE = 3.0  # a round this many times the best one is load, however slowly it came
FORGETTING = 1.001  # what the best one loses each round, so that a server may become slower for good
MIN_RISE = 0.25  # ... but at least a quarter: with a steady server the deviation is next to nothing
DECREASE = 0.9  # Vector's
MIN_ROUND_SECONDS = 0.02  # a near server answers in less, which would be noise
FIRST_PROBE_SECONDS = 1.0
MAX_PROBE_SECONDS = 64.0
_POLL_SECONDS = 0.1


class Controller:
    """Finds the limit.

    Args:
        maximum: the limit's upper bound.
    """

    def __init__(self, maximum: int) -> None:
        self.limit = 1
        self._maximum = maximum
        self._is_doubling = True
        self._before_probe: int | None = None
        self._probe_wait = FIRST_PROBE_SECONDS
        self._next_probe = 0.0
        self._fell_at = -1.0
        self._round_ends = 0.0
        self._round: list[float] = []
        self._round_was_full = False
        self._mean: float | None = None
        self._deviation = 0.0
        self._best = 0.0

    def done(self, *, started: float, now: float, pressed: bool, full: bool) -> None:
        """Take in a call that has ended.

        Args:
            started: when it began, in seconds.
            now: when it ended.
            pressed: it was pushed back, or never answered.
            full: as many calls as allowed were under way with it.
        """
        if pressed:
            if started > self._fell_at:  # calls that began before the last fall say nothing new
                self._fall(now, pressed=True)
            return
        self._round.append(now - started)
        self._round_was_full |= full
        enough = self.limit if self._is_doubling else max(MIN_CALLS, self.limit)
        if now >= self._round_ends and len(self._round) >= enough:
            self._end_round(now)

    def _end_round(self, now: float) -> None:
        seconds = statistics.median(self._round)  # not the mean: a few slow calls are no sign of load
        if self._is_rising(seconds):
            if len(self._round) < MIN_CALLS:
                return  # more of them may tell
            self._fall(now, pressed=False)
        elif self._round_was_full and self.limit < self._maximum and now >= self._next_probe:
            if self._before_probe is not None:
                self._probe_wait = FIRST_PROBE_SECONDS  # the last probe went well
            self._before_probe = self.limit
            self.limit = min(self._maximum, self.limit * 2 if self._is_doubling else self.limit + 1)
        else:
            self._before_probe = None  # the last probe has borne a whole round
        self._average(seconds)
        self._start_round(now)

    def _fall(self, now: float, *, pressed: bool) -> None:
        if self._before_probe is not None:
            self.limit = self._before_probe
            if pressed:
                self._probe_wait = min(self._probe_wait * 2, MAX_PROBE_SECONDS)
        else:
            self.limit = max(1, int(self.limit * DECREASE))
        self._before_probe = None
        self._is_doubling = False
        self._next_probe = now + (self._probe_wait if pressed else max(self._mean or 0.0, MIN_ROUND_SECONDS))
        self._fell_at = now
        self._start_round(now)

    def _is_rising(self, seconds: float) -> bool:
        if self._mean is None:
            return False
        creeping = seconds > MAX_RISE * self._best  # one call more at a time, each too little to notice
        return creeping or seconds > self._mean + max(DEVIATIONS * self._deviation, MIN_RISE * self._mean)

    def _average(self, seconds: float) -> None:
        self._best = min(seconds, self._best * FORGETTING) if self._mean is not None else seconds
        if self._mean is None:
            self._mean = seconds
            return
        difference = seconds - self._mean
        self._mean += ALPHA * difference
        self._deviation += ALPHA * (abs(difference) - self._deviation)

    def _start_round(self, now: float) -> None:
        self._round_ends = now + max(self._mean or 0.0, MIN_ROUND_SECONDS)
        self._round, self._round_was_full = [], False


class Gate:
    """Lets threads start their calls.

    Args:
        maximum: calls under way at once, at most.
        per_second: calls started a second, at most; None for no bound.
        stopping: when set, nobody waits any more.
        clock: tells the seconds.
    """

    def __init__(
        self,
        maximum: int,
        per_second: int | None,
        stopping: threading.Event,
        clock: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._controller = Controller(maximum)
        self._interval = 1 / per_second if per_second else 0.0
        self._next_start = 0.0
        self._stopping = stopping
        self._changed = threading.Condition()
        self._under_way = 0
        self._is_open = False

    @property
    def limit(self) -> int:
        """Calls that may be under way now."""
        return self._controller.limit if self._is_open else 1

    def open(self) -> None:
        """Let more than one call go at a time, from now on."""
        self._is_open = True

    def enter(self) -> float:
        """Wait for a place.

        Returns:
            The moment at which the call begins, for `leave`.
        """
        with self._changed:
            while self._under_way >= self.limit and not self._stopping.is_set():
                self._changed.wait(_POLL_SECONDS)
            self._under_way += 1
            start = max(self._clock(), self._next_start)
            self._next_start = start + self._interval
        wait = start - self._clock()
        if wait > 0:
            self._stopping.wait(wait)
        return self._clock()

    def leave(self, started: float, *, pressed: bool) -> None:
        """Give the place back, and say how the call went."""
        with self._changed:
            full = self._under_way >= self.limit
            self._under_way -= 1
            self._controller.done(started=started, now=self._clock(), pressed=pressed, full=full)
            self._changed.notify_all()
