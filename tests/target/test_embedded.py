"""The sandbox that the target starts, where it cannot start: its database is locked by another program."""

from __future__ import annotations

import signal
import sqlite3
import time
import typing as t
from contextlib import closing
from pathlib import Path

import pytest

from target_cooladata.embedded import EmbeddedSandbox
from target_cooladata.exceptions import TargetError
from tests.singer import event, schema

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.target.conftest import StartTarget


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "locked.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("create table other (id)")
        connection.execute("begin exclusive")
        yield path


def test_a_sandbox_that_does_not_start_is_not_waited_for_for_ever(locked: Path) -> None:
    with pytest.raises(TargetError, match=r"did not start within 2 s; check .* locked its database"):
        EmbeddedSandbox(str(locked), seconds=2)


def test_a_signal_ends_the_wait_for_the_sandbox(start_target: StartTarget, locked: Path) -> None:
    process = start_target(endpoint_url=f"sandbox:{locked}")
    process.write(schema(), event(1))
    children = Path(f"/proc/{process.process.pid}/task/{process.process.pid}/children")  # Linux has it
    while not children.read_text():
        assert process.process.poll() is None
    before = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    code, _, err = process.end()
    assert time.monotonic() - before < 10
    assert code == 143, err
    assert "Traceback" not in err
