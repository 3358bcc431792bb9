"""The target killed with -9 in the middle, and run again from its last state."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import typing as t
from itertools import pairwise

import pytest

from target_cooladata.entries import Found, digest, read
from tests.commands import BIN, run, write_config
from tests.singer import APP_KEY, event, schema, state

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer

CALLS, SIZE = 4, 100


@pytest.fixture
def config(sandbox: SandboxServer, tmp_path: Path) -> Path:
    return write_config(
        tmp_path, endpoint_url=sandbox.url, app_key=APP_KEY, rejects_path=str(tmp_path / "rejects"),
        journal_path=str(tmp_path / "journal"), max_concurrency=CALLS, batch_size_rows=SIZE,
    )  # fmt: skip


class Killed:
    """A run that ends by `kill -9` once the sandbox holds so many events.

    Attributes:
        states: what it printed.
    """

    def __init__(self, folder: Path, config: Path, lines: t.Iterable[str], sandbox: SandboxServer, moment: int) -> None:
        source, printed, log = folder / "in.jsonl", folder / "states.jsonl", folder / "log"
        source.write_text("".join(lines))
        with source.open() as stdin, printed.open("w") as stdout, log.open("w") as stderr:
            process = subprocess.Popen(
                [BIN / "target-cooladata", "--config", config], stdin=stdin, stdout=stdout, stderr=stderr
            )
            while sandbox.summary()["distinct"] < moment:
                assert process.poll() is None, log.read_text()
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL
        whole = [line for line in printed.read_text().splitlines(keepends=True) if line.endswith("\n")]
        self.states = [json.loads(line) for line in whole]


def in_doubt(journal: Path, leading: dict[str, int]) -> int:
    """Count the events of calls whose answer was never received, by the journal that a kill has left behind."""
    sent: set[int] = set()
    acknowledged: set[int] = set()
    for path in journal.glob("*.journal"):  # two, if the kill came while one was taken over
        found = read(path.read_bytes(), digest(json.dumps(leading).encode())) or Found()
        sent.update(position for first, last in found.unanswered for position in range(first, last + 1))
        acknowledged.update(position for span in found.acknowledged for position in range(span.first, span.stop))
    return len(sent - acknowledged)


def test_what_was_in_flight_at_a_kill_is_sent_again_and_counted_in_doubt(
    sandbox: SandboxServer, tmp_path: Path, config: Path
) -> None:
    settings = json.loads(config.read_text()) | {"max_concurrency": 1}
    config = write_config(tmp_path, **settings)
    sandbox.set_faults({"kind": "slow", "delay_ms": 60_000, "after": 2, "times": 1})
    lines = [state(n=0), schema(), *map(event, range(1000)), state(n=1000)]
    Killed(tmp_path, config, lines, sandbox, 3 * SIZE)
    done = run("target-cooladata", "--config", config, stdin="".join(lines))
    assert done.code == 0
    assert done.report["events_already_delivered"] == 2 * SIZE
    assert done.report["events_in_doubt"] == SIZE
    assert sandbox.summary()["events"] == 1000 + SIZE
    assert sandbox.summary()["distinct"] == 1000


def test_what_a_run_gave_up_on_without_an_answer_is_in_doubt_in_the_next(
    sandbox: SandboxServer, tmp_path: Path, config: Path
) -> None:
    settings = json.loads(config.read_text())
    config = write_config(tmp_path, **settings, max_retry_seconds=0)
    sandbox.set_faults({"kind": "reset_after_store", "after": 2, "times": 1})
    lines = [state(n=0), schema(), *map(event, range(1000)), state(n=1000)]
    assert run("target-cooladata", "--config", config, stdin="".join(lines)).code == 1
    done = run("target-cooladata", "--config", config, stdin="".join(lines))
    assert done.code == 0
    assert sandbox.summary()["events"] == 1000 + SIZE
    assert done.report["events_in_doubt"] == SIZE


def test_killed_twenty_times_nothing_is_missing_and_only_what_was_never_answered_is_there_twice(
    sandbox: SandboxServer, tmp_path: Path, config: Path
) -> None:
    total, kills = 50_000, 20
    sandbox.set_faults({"kind": "slow", "delay_ms": 50, "times": None})
    events = [event(number) for number in range(total)]
    reached, doubts = 0, []

    def lines() -> t.Iterator[str]:
        yield state(n=reached)
        yield schema()
        for number in range(reached, total):
            yield events[number]
            if (number + 1) % 1000 == 0:
                yield state(n=number + 1)

    for moment in sorted(random.Random(20121015).sample(range(1, total), kills)):
        killed = Killed(tmp_path, config, lines(), sandbox, moment)
        reached = killed.states[-1]["n"] if killed.states else reached
        doubts.append(in_doubt(tmp_path / "journal", {"n": reached}))
    last = run("target-cooladata", "--config", config, stdin="".join(lines()))
    assert last.code == 0, last.stderr
    assert last.report["events_in_doubt"] == doubts[-1]
    summary = sandbox.summary()
    assert summary["distinct"] == total
    assert summary["events"] - total <= sum(doubts)
    for before, now in pairwise([0, *doubts]):
        assert now <= before + CALLS * SIZE  # a kill adds the calls under way; until a state passes it, a doubt stays
