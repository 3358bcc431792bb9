"""Gate and controller against simulated servers, on a virtual clock."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
import typing as t

import pytest

from target_cooladata.concurrency import Gate


class Simulation:
    """A server and a sender that always has work; time passes from one event to the next.

    Args:
        maximum: the gate's bound.
        seconds: the time an accepted call takes, by how many are under way.
        bears: calls under way that the server accepts; one more is refused at once.
    """

    def __init__(self, maximum: int, seconds: t.Callable[[int], float] = lambda _: 0.1, bears: int = 10_000) -> None:
        self.gate = Gate(maximum, None, threading.Event(), clock=lambda: self.now)
        self.gate.open()
        self.bears = bears
        self.limits: list[int] = []
        self.refused: list[bool] = []
        self.now = 0.0
        self._seconds = seconds
        self._noise = random.Random(1)
        self._calls: list[tuple[float, int, float, bool]] = []

    def run(self, calls: int) -> None:
        for _ in range(calls):
            while len(self._calls) < self.gate.limit:
                self._start()
            self.now, _, started, pressed = heapq.heappop(self._calls)
            self.gate.leave(started, pressed=pressed)
            self.limits.append(self.gate.limit)
            self.refused.append(pressed)

    def _start(self) -> None:
        accepted = sum(not pressed for *_, pressed in self._calls)
        pressed = accepted >= self.bears
        seconds = 0.005 if pressed else self._seconds(accepted + 1) * self._noise.uniform(0.95, 1.05)
        started = self.gate.enter()
        heapq.heappush(self._calls, (started + seconds, len(self.limits) * 1000 + len(self._calls), started, pressed))


def test_a_server_that_bears_four_calls_is_found_in_fifty_and_then_left_in_peace() -> None:
    simulation = Simulation(16, bears=4)
    simulation.run(50)
    assert 3 <= simulation.gate.limit <= 5
    simulation.run(2000)
    later = simulation.limits[50:]
    assert all(3 <= limit <= 5 for limit in later)
    assert sum(simulation.refused[50:]) < 0.05 * 2000
    assert sum(limit == 4 for limit in later) > 0.9 * len(later)


def test_a_server_that_bears_everything_gets_all_that_is_allowed() -> None:
    simulation = Simulation(16)
    simulation.run(60)
    assert simulation.gate.limit == 16
    simulation.run(2000)
    assert sum(limit >= 15 for limit in simulation.limits[60:]) > 0.95 * 2000
    assert 2060 / simulation.now >= 0.9 * 16 / 0.1


@pytest.mark.parametrize(
    "tail",
    [
        lambda noise: noise.uniform(0.7, 1.3),
        lambda noise: noise.lognormvariate(0, 0.6),
        lambda noise: 10 if noise.random() < 0.01 else 1,
        lambda noise: 10 if noise.random() < 0.05 else 1,
        lambda noise: 3 if noise.random() < 0.05 else 1,
    ],
    ids=["uniform", "lognormal", "1 % ten times", "5 % ten times", "5 % three times"],
)
def test_answers_that_are_slow_now_and_then_do_not_slow_the_run(tail: t.Callable[[random.Random], float]) -> None:
    noise = random.Random(2)
    simulation = Simulation(16, seconds=lambda _: 0.1 * tail(noise))
    simulation.run(4000)
    assert sum(simulation.limits[200:]) / len(simulation.limits[200:]) > 0.85 * 16


def test_the_limit_is_never_above_its_bound_nor_below_one() -> None:
    for bears in (0, 1, 3, 100):
        simulation = Simulation(6, bears=bears)
        simulation.run(500)
        assert all(1 <= limit <= 6 for limit in simulation.limits)


def test_a_latency_that_rises_with_the_load_keeps_the_limit_low() -> None:
    simulation = Simulation(64, seconds=lambda under_way: 0.01 * under_way)
    simulation.run(1000)
    assert max(simulation.limits[100:]) <= 8


def test_a_server_that_recovers_is_used_again() -> None:
    simulation = Simulation(16, bears=2)
    simulation.run(300)
    assert simulation.gate.limit <= 3
    simulation.bears = 10_000
    simulation.run(3000)
    assert simulation.gate.limit == 16


def test_every_refused_probe_doubles_the_time_to_the_next() -> None:
    simulation = Simulation(16, bears=4)
    simulation.run(8000)
    probes = [number for number in range(1, 8000) if simulation.limits[number] > simulation.limits[number - 1] >= 4]
    gaps = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert len(gaps) >= 4
    assert all(1.5 < later / earlier < 3 for earlier, later in itertools.pairwise(gaps[:5]))


def test_the_gate_lets_one_call_pass_until_it_is_opened() -> None:
    gate = Gate(8, None, threading.Event())
    for _ in range(5):
        gate.leave(gate.enter(), pressed=False)
    assert gate.limit == 1
    gate.open()
    tries = itertools.count()
    while gate.limit == 1:
        gate.leave(gate.enter(), pressed=False)
        assert next(tries) < 1_000_000


def test_the_gate_keeps_to_a_rate() -> None:
    gate = Gate(1, 50, threading.Event())
    before = time.monotonic()
    for _ in range(11):
        gate.leave(gate.enter(), pressed=False)
    assert time.monotonic() - before >= 0.99 * 10 / 50


def test_nobody_waits_at_the_gate_of_a_run_that_stops() -> None:
    stopping = threading.Event()
    gate = Gate(1, None, stopping)
    gate.enter()
    stopping.set()
    gate.enter()
