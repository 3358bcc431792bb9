"""The target stopped: by a signal, by a reader that goes away, while the API hangs."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest

from tests.singer import event, schema, state

if t.TYPE_CHECKING:
    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import Process, StartTarget


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_in_order_with_state_where_it_is_true(
    process: Process, sandbox: SandboxServer, number: signal.Signals, code: int
) -> None:
    process.write(schema(), event(1), state(a=1))
    assert json.loads(process.line()) == {"a": 1}
    sandbox.set_faults({"kind": "status", "status": 503, "times": None})
    process.write(event(2), state(a=2))
    process.process.send_signal(number)
    process.process.send_signal(number)  # Meltano sends two, a moment apart
    before = time.monotonic()
    found, out, err = process.end()
    assert time.monotonic() - before < 10
    assert found == code
    assert "2" not in out
    assert '"equation_closes":true' in err
    assert "Traceback" not in err


def test_a_reader_of_the_states_that_goes_away_ends_the_run_in_order(process: Process) -> None:
    assert process.process.stdout is not None
    process.process.stdout.close()
    process.write(schema(), event(1), state(a=1))
    assert process.process.stderr is not None
    err = process.process.stderr.read()
    assert process.process.wait(60) == 1
    assert "standard output was closed" in err
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


def test_while_the_api_hangs_memory_stays_bounded_and_a_signal_leaves_state_at_the_last_acknowledged_call(
    start_target: StartTarget, sandbox: SandboxServer
) -> None:
    process = start_target(max_batch_age_seconds=60)  # so that all calls are full
    hanging = {"property": "user_id", "in": ["u2"]}
    sandbox.set_faults({"kind": "slow", "delay_ms": 60_000, "times": None, "when": hanging})
    answered, first = 10 * 300, event(1, text="x" * 1000)
    process.write(schema(), *(first + state(n=number) for number in range(1, answered + 1)))
    big = event(2, text="x" * 1000)
    stop = threading.Event()
    written = [0]

    def talk() -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):
            while not stop.is_set():
                written[0] += 100
                process.write(big * 100, state(n=answered + written[0]))

    speaker = threading.Thread(target=talk)
    speaker.start()
    before = -1
    while written[0] != before:  # until back-pressure has reached the writer
        before = written[0]
        time.sleep(1)
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", (Path("/proc") / str(process.process.pid) / "status").read_text())[1])  # type: ignore[index]  # Linux has it
    assert peak < 200_000
    stop.set()
    asked = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(15) == 143
    assert time.monotonic() - asked < 10
    speaker.join()
    assert process.process.stdout is not None
    assert json.loads(process.process.stdout.read().splitlines()[-1])["n"] == answered
    assert process.process.stderr is not None
    assert '"equation_closes":true' in process.process.stderr.read()
