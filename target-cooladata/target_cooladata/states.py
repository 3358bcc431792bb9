"""STATE on standard output, as soon as it is true.

In: checkpoints of which everything before them is settled. Out: their STATE, at most once a second and the last one
always, after the rejects before it are durable and the journal knows of it. It refuses to go on, with one sentence,
when nobody reads standard output any more.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import typing as t
from collections import deque

from target_cooladata.exceptions import TargetError

if t.TYPE_CHECKING:
    from pathlib import Path

    from target_cooladata.journal import Journal
    from target_cooladata.ledger import Checkpoint
    from target_cooladata.rejects import RejectsWriter

POLL_SECONDS = 0.1
_logger = logging.getLogger("target-cooladata")
PATIENCE_SECONDS = 2.0  # for a reader that does not read, once a signal has come
INTERVAL_SECONDS = 1.0  # Meltano stores each STATE synchronously


class StateWriter:
    """Writes states.

    Args:
        rejects: made durable before a state passes them.
        journal: told of every state, if there is one.
        is_hurried: whether the run is to end soon.
    """

    def __init__(self, rejects: RejectsWriter, journal: Journal | None, is_hurried: t.Callable[[], bool]) -> None:
        self._is_hurried = is_hurried
        self._rejects = rejects
        self._journal = journal
        self._checkpoint: Checkpoint | None = None
        self._written_at = 0.0
        self._is_torn = False
        self._spent: deque[tuple[int, Path]] = deque()
        self.position = 0  # how many records stand before the last one written
        self.written = 0

    def offer(self, checkpoint: Checkpoint | None) -> None:
        """Take the newest checkpoint, if there is a new one."""
        if checkpoint is not None:
            self._checkpoint = checkpoint

    def add_spent(self, path: Path, position: int) -> None:
        """Take a file that is not needed any more once a STATE behind so many records has gone out."""
        self._spent.append((position, path))

    def write(self, now: float, *, final: bool = False) -> None:
        """Write the newest state if one is due.

        Args:
            now: monotonic seconds.
            final: write it in any case.

        Raises:
            TargetError: rejects, journal or standard output cannot be written.
        """
        checkpoint = self._checkpoint
        if checkpoint is None or not (final or now - self._written_at >= INTERVAL_SECONDS):
            return
        if self._is_torn:
            return  # another one would stand on the line that was not ended
        self._checkpoint = None
        self._rejects.sync()
        if self._journal is not None:
            self._journal.announce(checkpoint.state, checkpoint.position)
        self._is_torn = True
        _print(checkpoint.state, self._is_hurried)
        self._is_torn = False
        if self._journal is not None:
            self._journal.confirm()
        self._written_at = now
        self.position = checkpoint.position
        self.written += 1
        while self._spent and self._spent[0][0] <= self.position:
            _delete(self._spent.popleft()[1])


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _logger.warning("The batch file %s is loaded but cannot be deleted (%s)", path, error.strerror)


def _print(state: bytes, is_hurried: t.Callable[[], bool]) -> None:
    """Write a line, whole, and wait for a reader that is slow, but not for ever once the run is to end."""
    if sys.stdout is None:
        msg = "there is no standard output to write the state of what is delivered to"
        raise TargetError(msg)
    try:
        sys.stdout.flush()
        line = memoryview(state + b"\n")
        try:
            descriptor = sys.stdout.fileno()
        except OSError:  # not a file, as in the SDK's own tests
            sys.stdout.buffer.write(line)
            return
        left = PATIENCE_SECONDS
        while line:
            if select.select([], [descriptor], [], POLL_SECONDS)[1]:
                line = line[os.write(descriptor, line[: select.PIPE_BUF]) :]  # so much never blocks
            elif is_hurried():
                left -= POLL_SECONDS
                if left <= 0:
                    msg = "nobody reads standard output, so the state of what is delivered cannot be handed on"
                    raise TargetError(msg)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
        msg = "standard output was closed, so the state of what is delivered cannot be handed on"
        raise TargetError(msg) from None
    except OSError as error:
        msg = f"the state of what is delivered cannot be written to standard output ({error.strerror})"
        raise TargetError(msg) from None
