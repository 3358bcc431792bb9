"""Signals: SIGINT and SIGTERM set a flag, nothing else; a second signal changes nothing. The loop looks at the flag."""

from __future__ import annotations

import signal
import typing as t

from tap_coolafile.exceptions import StoppedError

if t.TYPE_CHECKING:
    from types import FrameType


class StopFlag:
    """Remembers the first signal that came."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def install(self) -> None:
        """Take over SIGINT and SIGTERM, for the rest of the process."""
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, self._note)

    def is_set(self) -> bool:
        """Tell whether a signal came."""
        return self.signum is not None

    def check(self) -> None:
        """Leave the loop that calls this, once a signal came.

        Raises:
            StoppedError: a signal came.
        """
        if self.is_set():
            msg = "a signal asked the run to end"
            raise StoppedError(msg)

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after SIGTERM, as shells expect."""
        return 128 + (self.signum or 0)

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature is Python's
        if self.signum is None:
            self.signum = signum
