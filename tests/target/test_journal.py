from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import stat
import typing as t

import pytest

from target_cooladata.entries import fingerprint
from target_cooladata.exceptions import JournalError
from target_cooladata.journal import KEPT_STATES, Journal
from tests.commands import BIN, Finished, run, write_config
from tests.singer import event, schema, state

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import RunTarget

S0, S1, S2, S3 = b'{"n": 0}', b'{"n": 1}', b'{"n": 2}', b'{"n": 3}'


def records(*positions: int, text: str = "r") -> list[tuple[int, int]]:
    return [(position, fingerprint("s", f"{text}{position}".encode())) for position in positions]


class Run:
    """One run's journal in a folder; it dies unless it is finished."""

    def __init__(self, folder: Path, leading: bytes | None, name: str = "run", identity: str = "project") -> None:
        self.journal = Journal(folder, identity, name)
        self.journal.begin(leading)

    @classmethod
    def starter(cls, folder: Path) -> t.Iterator[t.Callable[..., Run]]:
        runs: list[Run] = []

        def start(*arguments: t.Any, **more: t.Any) -> Run:
            runs.append(cls(folder, *arguments, **more))
            return runs[-1]

        yield start
        for started in runs:
            started.dies()

    def goes_out(self, state: bytes, position: int) -> None:
        self.journal.announce(state, position)
        self.journal.confirm()

    def dies(self) -> None:
        self.journal.close(finished=False)

    def doubted(self, *positions: int) -> list[int]:
        return [position for position in positions if self.journal.doubted([position])]

    def known(self, *positions: int, text: str = "r") -> list[int]:
        return [position for position in positions if self.journal.knows(position, "s", f"{text}{position}".encode())]


Start = t.Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path) -> t.Iterator[Start]:
    """Start runs whose journals lie in the test's folder."""
    yield from Run.starter(tmp_path)


def test_what_a_run_that_died_had_acknowledged_is_known_to_the_next_from_the_same_state(start: Start) -> None:
    first = start(S0)
    first.journal.note(records(1, 2, 5))
    first.dies()
    assert start(S0, "next").known(*range(1, 8)) == [1, 2, 5]


def test_positions_count_from_the_last_state_that_went_out(start: Start) -> None:
    first = start(S0)
    first.journal.note(records(1, 2, 3, 5))
    first.goes_out(S1, 3)
    first.dies()
    second = start(S1, "next")
    assert second.journal.knows(2, "s", b"r5")
    assert not second.journal.knows(1, "s", b"r4")
    assert not second.journal.knows(3, "s", b"r3")


def test_another_or_no_leading_state_knows_nothing(start: Start) -> None:
    first = start(S0)
    first.journal.note(records(1, 2, 3, 4, 5))
    first.goes_out(S1, 2)
    first.goes_out(S2, 3)
    first.dies()
    for number, leading in enumerate((S3, None)):
        other = start(leading, f"other{number}")
        assert not other.journal.known
        other.journal.close(finished=True)


def test_the_last_few_states_are_as_good_as_the_last_and_older_ones_are_forgotten(start: Start) -> None:
    last = KEPT_STATES + 2
    for place in range(1, last + 1):
        first = start(S0)
        first.journal.note(records(*range(1, 2 * last)))
        for number in range(1, last + 1):
            first.goes_out(b'{"n": %d}' % number, number)
        first.dies()
        second = start(b'{"n": %d}' % place, "next")
        known = [
            number
            for number in range(place + 1, 2 * last + 1)
            if second.journal.knows(number - place, "s", b"r%d" % number)
        ]
        assert known == (list(range(place + 1, 2 * last)) if place > last - KEPT_STATES else [])
        second.journal.close(finished=True)


def test_a_state_that_is_announced_but_not_known_to_have_gone_out_leaves_both_open(start: Start) -> None:
    for leading, expected in ((S0, [1, 2, 3, 4]), (S1, [])):
        first = start(S0)
        first.journal.note(records(1, 2, 3, 4))
        first.journal.announce(S1, 2)
        first.dies()
        second = start(leading, "next")
        assert second.known(1, 2, 3, 4) == expected
        assert second.journal.known
        second.journal.close(finished=True)


def test_a_state_that_is_said_again_and_again_stays_where_it_was_first_said(start: Start) -> None:
    """So do taps that cannot resume: they start from their first row again."""
    first = start(S0)
    first.journal.note(records(1, 2, 3))
    for position in (1, 2, 3):
        first.goes_out(S0, position)
    first.dies()
    assert start(S0, "next").known(1, 2, 3, 4) == [1, 2, 3]


def test_the_same_content_at_another_place_is_another_record(start: Start) -> None:
    first = start(S0)
    first.journal.note([(1, fingerprint("s", b"same")), (2, fingerprint("s", b"same"))])
    first.dies()
    second = start(S0, "next")
    assert [second.journal.knows(position, "s", b"same") for position in (1, 2, 3)] == [True, True, False]
    assert not second.journal.knows(1, "s", b"other")


def test_what_was_known_stays_known_when_the_next_run_dies_too(start: Start, tmp_path: Path) -> None:
    first = start(S0)
    first.journal.note(records(1, 2))
    first.dies()
    second = start(S0, "second")
    second.journal.note(records(4))
    second.dies()
    assert start(S0, "third").known(1, 2, 3, 4) == [1, 2, 4]
    assert len(list(tmp_path.iterdir())) == 1


def test_inputs_that_begin_alike_do_not_take_what_is_not_theirs(start: Start, tmp_path: Path) -> None:
    """So do the shards of one tap: killed together, run again one after the other."""
    for name in ("one", "two"):
        shard = start(S0, name)
        shard.journal.note(records(1, 2, 3, text=name))
        shard.dies()
    for name in ("one", "two"):
        shard = start(S0, f"{name} again")
        assert shard.known(1, 2, 3, 4, text=name) == [1, 2, 3]
        shard.journal.close(finished=True)
    assert list(tmp_path.iterdir()) == []


def test_inputs_that_begin_alike_may_run_at_once(start: Start) -> None:
    for name in ("one", "two"):
        shard = start(S0, name)
        shard.journal.note(records(1, 2, 3, text=name))
        shard.dies()
    shards = {name: start(S0, f"{name} again") for name in ("one", "two")}
    assert all(shard.known(1, 2, 3, 4, text=name) == [1, 2, 3] for name, shard in shards.items())


def test_what_nobody_has_come_for_in_a_month_is_removed(start: Start, tmp_path: Path) -> None:
    first = start(S0)
    first.journal.note(records(1))
    first.dies()
    (path,) = tmp_path.iterdir()
    os.utime(path, (0, 0))
    start(S1, "next").journal.close(finished=True)
    assert list(tmp_path.iterdir()) == []


def test_what_was_sent_and_never_answered_is_in_doubt(start: Start) -> None:
    first = start(S0)
    for call in ((1, 3), (4, 6), (7, 9), (10, 12)):
        first.journal.begin_call(*call)
    first.journal.note(records(1, 2, 3))
    first.journal.end_call(7, 9)
    first.dies()
    assert start(S0, "next").doubted(*range(1, 20)) == [4, 5, 6, 10, 11, 12]


def test_an_answer_to_a_second_try_does_not_end_the_doubt_of_the_first(start: Start) -> None:
    first = start(S0)
    first.journal.begin_call(1, 3)
    first.journal.begin_call(1, 3)
    first.journal.end_call(1, 3)
    first.dies()
    assert start(S0, "next").doubted(1, 2, 3, 4) == [1, 2, 3]


def test_halves_of_a_call_are_in_doubt_by_themselves(start: Start) -> None:
    first = start(S0)
    first.journal.begin_call(1, 300)
    first.journal.end_call(1, 300)
    first.journal.begin_call(1, 150)
    first.journal.note(records(*range(1, 151)))
    first.journal.begin_call(151, 300)
    first.dies()
    assert start(S0, "next").doubted(*range(1, 302)) == list(range(151, 301))


def test_doubts_count_from_the_last_state_that_went_out(start: Start) -> None:
    first = start(S0)
    first.journal.begin_call(1, 4)
    first.journal.begin_call(5, 8)
    for number in range(1, KEPT_STATES + 2):  # enough for the file to be written anew
        first.goes_out(b'{"n": %d}' % number, number)
    first.dies()
    assert start(b'{"n": 6}', "next").doubted(*range(10)) == [1, 2]


def test_doubts_stay_when_the_next_run_dies_too(start: Start) -> None:
    first = start(S0)
    first.journal.begin_call(1, 4)
    first.dies()
    second = start(S0, "second")
    second.journal.begin_call(1, 2)
    second.journal.note(records(1, 2))
    second.journal.begin_call(3, 6)
    second.journal.end_call(3, 6)
    second.dies()
    assert start(S0, "third").doubted(*range(10)) == [3, 4]


def test_a_run_that_ends_well_leaves_nothing(start: Start, tmp_path: Path) -> None:
    run = start(S0)
    run.journal.note(records(1))
    run.journal.close(finished=True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_under_way_is_left_alone(start: Start) -> None:
    busy = start(S0)
    busy.journal.note(records(1))
    assert not start(S0, "other").journal.known


def test_what_a_kill_left_half_written_is_removed_unless_its_run_is_under_way(start: Start, tmp_path: Path) -> None:
    first = start(S0)
    (journal,) = tmp_path.iterdir()
    first.dies()
    left, busy = journal.with_name(f"{journal.stem}1.partial"), journal.with_name(f"{journal.stem}2.partial")
    foreign = tmp_path / "another.partial"
    for path in (left, busy, foreign):
        path.write_bytes(b"S")
    with busy.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        start(S0, "next")
    assert sorted(tmp_path.glob("*.partial")) == sorted([busy, foreign])


def test_another_project_knows_nothing(start: Start) -> None:
    first = start(S0)
    first.journal.note(records(1))
    first.dies()
    assert not start(S0, "next", identity="another").journal.known


def test_the_file_is_private_and_holds_no_content(start: Start, tmp_path: Path) -> None:
    run = start(S0)
    run.journal.note([(1, fingerprint("s", b"secret words"))])
    (path,) = tmp_path.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"secret" not in path.read_bytes()
    run.dies()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="journal_path"):
        Run(tmp_path / "file" / "below", S0)


@contextlib.contextmanager
def files_no_larger_than(size: int) -> t.Iterator[None]:
    """A disk that is full, as far as this process can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_a_full_disk_took_half_of_spoils_nothing_of_what_comes_after_it(start: Start, tmp_path: Path) -> None:
    """Calls under way are still answered when the run is stopped, and there may be room again."""
    first = start(S0)
    first.journal.note(records(1, 2))
    (path,) = tmp_path.iterdir()
    with files_no_larger_than(path.stat().st_size + 20), pytest.raises(JournalError, match="journal_path"):
        first.journal.note(records(3, 4))
    first.journal.note(records(5, 6))
    first.dies()
    assert start(S0, "next").known(*range(1, 8)) == [1, 2, 5, 6]


def test_a_disk_too_full_to_begin_the_file_anew_leaves_the_one_there_is(start: Start, tmp_path: Path) -> None:
    first = start(S0)
    first.journal.note(records(1, 2, 3, 4, 5, 6, 7, 8))
    for number in range(1, KEPT_STATES):
        first.goes_out(b'{"n": %d}' % number, number)
    first.journal.announce(b'{"n": 9}', 6)
    with files_no_larger_than(20), pytest.raises(JournalError, match="journal_path"):
        first.journal.confirm()
    first.journal.note(records(10))
    first.dies()
    assert len(list(tmp_path.iterdir())) == 1
    last = start(b'{"n": 9}', "next")
    assert [number for number in range(1, 12) if last.journal.knows(number - 6, "s", b"r%d" % number)] == [7, 8, 10]


# Through the command


def test_six_hundred_identical_rows_are_six_hundred_events(run_target: RunTarget, sandbox: SandboxServer) -> None:
    done = run_target(state(n=0), schema(), *[event(1)] * 600, state(n=600))
    assert done.code == 0
    assert sandbox.summary()["events"] == 600
    assert done.report["events_already_delivered"] == 0


def test_the_same_record_of_another_stream_is_another_record(start: Start) -> None:
    first = start(S0)
    first.journal.note([(1, fingerprint("logins", b"x"))])
    first.dies()
    assert not start(S0, "next").journal.knows(1, "logouts", b"x")


def test_a_tap_that_dies_has_its_rows_not_sent_again(run_target: RunTarget, sandbox: SandboxServer) -> None:
    """To the target a tap that dies looks like one that ends, but for the state that is missing."""
    lines = [state(n=0), schema(), *map(event, range(300)), state(n=300), *map(event, range(300, 900))]
    first = run_target(*lines)
    assert first.code == 0
    assert first.states[-1] == {"n": 300}
    second = run_target(state(n=300), *lines[1:2], *lines[303:], *map(event, range(900, 1000)), state(n=1000))
    assert second.report["events_already_delivered"] == 600
    assert sandbox.summary()["events"] == 1000


def test_a_tap_that_never_says_another_state_loads_again(run_target: RunTarget, sandbox: SandboxServer) -> None:
    lines = [state(), schema(), *map(event, range(10))]
    run_target(*lines)
    run_target(*lines)
    assert sandbox.summary()["events"] == 20


def test_a_full_refresh_loads_again(run_target: RunTarget, sandbox: SandboxServer) -> None:
    lines = [state(n=0), schema(), *map(event, range(10)), state(n=10)]
    run_target(*lines)
    run_target(*lines)
    assert sandbox.summary()["events"] == 20


@pytest.fixture
def broken_run(run_target: RunTarget, sandbox: SandboxServer) -> list[str]:
    """An input of which a first run delivered some calls behind the last state that went out, and then failed."""
    lines = [state(n=0), schema(), *map(event, range(1000)), state(n=1000)]
    sandbox.set_faults({"kind": "status", "status": 403, "times": 1, "every": 3})
    done = run_target(*lines, max_concurrency=1)
    assert done.code == 1
    assert done.states == [{"n": 0}]
    assert sandbox.summary()["events"] == 600
    sandbox.clear_faults()
    return lines


def test_what_was_acknowledged_is_not_sent_again(
    broken_run: list[str], run_target: RunTarget, sandbox: SandboxServer
) -> None:
    done = run_target(*broken_run)
    assert done.code == 0
    assert sandbox.summary()["events"] == sandbox.summary()["distinct"] == 1000
    assert done.report["events_already_delivered"] == 600
    assert done.report["events_delivered"] == 400
    assert done.report["events_in_doubt"] == 0
    assert done.report["equation_closes"]


def test_borders_of_calls_that_moved_do_not_matter(
    broken_run: list[str], run_target: RunTarget, sandbox: SandboxServer
) -> None:
    assert run_target(*broken_run, batch_size_rows=70).code == 0
    assert sandbox.summary()["events"] == 1000


def test_rows_that_changed_since_are_sent(broken_run: list[str], run_target: RunTarget, sandbox: SandboxServer) -> None:
    broken_run[5] = event(3, changed=True)
    assert run_target(*broken_run).code == 0
    assert sandbox.summary()["events"] == 1001


def test_from_another_state_everything_is_sent(
    broken_run: list[str], run_target: RunTarget, sandbox: SandboxServer
) -> None:
    broken_run[0] = state(n=-1)
    assert run_target(*broken_run).code == 0
    assert sandbox.summary()["events"] == 1600


def test_by_another_mapping_everything_is_sent(
    broken_run: list[str], run_target: RunTarget, sandbox: SandboxServer
) -> None:
    assert run_target(*broken_run, streams={"events": {"event_name": "better"}}).code == 0
    assert sandbox.summary()["by_event_name"] == {"login": 600, "better": 1000}


def test_a_sandbox_that_was_deleted_gets_everything(tmp_path: Path) -> None:
    database = tmp_path / "sandbox.db"
    settings = {"endpoint_url": f"sandbox:{database}", "journal_path": str(tmp_path / "journal")}
    config = write_config(tmp_path, rejects_path=str(tmp_path / "rejects"), **settings)
    lines = [state(n=0), schema(), *map(event, range(600)), "no message\n"]

    def load() -> Finished:
        return run("target-cooladata", "--config", config, stdin="".join(lines))

    assert load().report["events_delivered"] == 600
    assert load().report["events_already_delivered"] == 600
    for file in tmp_path.glob("sandbox.db*"):
        file.unlink()
    assert load().report["events_delivered"] == 600


def test_without_a_journal_everything_is_sent(
    broken_run: list[str], run_target: RunTarget, sandbox: SandboxServer
) -> None:
    assert run_target(*broken_run, journal_path="").code == 0
    assert sandbox.summary()["events"] == 1600


def test_what_the_journal_cannot_take_any_more_is_sent_again_and_nothing_worse(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("target_cooladata.journal.MAX_BYTES", 60)
    first = start(S0)
    first.journal.note(records(1, 2, 3))
    first.journal.note(records(4, 5, 6))
    assert first.journal.is_full
    first.journal.note(records(7, 8))
    first.dies()
    assert start(S0, "next").known(*range(1, 9)) == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_taken_over_ends_the_run_and_stays(
    broken_run: list[str], run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("".join(broken_run))
    limited = (
        f"ulimit -f 1; exec target-cooladata --config {tmp_path / 'config.json'} < {tmp_path / 'in'} 2> >(cat >&2)"
    )
    done = run("bash", "-c", limited, env={"PATH": f"{BIN}:{os.environ['PATH']}"})
    assert done.code == 1
    (line,) = done.complaints
    assert "journal_path" in line
    assert done.report["equation_closes"]
    assert run_target(*broken_run).report["events_already_delivered"] == 600
    assert sandbox.summary()["events"] == 1000
