"""What runs that died have left behind for one that starts where they did.

In: a folder of journals, and the leading STATE of an input. Out: for each run that ended without finishing, what it
knows of the records behind that STATE. Runs under way are left alone.

Inputs that begin with the same STATE need not be the same: so do the shards of one tap. Whose journal it is shows once
the first of its records comes; until then it is read, and stays where it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

import msgspec

from target_cooladata.entries import Call, read
from target_cooladata.known import Known

if t.TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

MAX_AGE_SECONDS = 30 * 86_400


class Left(msgspec.Struct):
    """The journal of a run that died.

    Attributes:
        path: its file.
        known: the records that it had acknowledged.
        unanswered: calls that it had begun and whose answer it had never seen.
        is_ours: it is of the same input, and its run's successor has taken it over.
    """

    path: Path
    known: Known
    unanswered: Counter[Call]
    is_ours: bool = False


def find(folder: Path, prefix: str, leading: bytes) -> list[Left]:
    """Read the journals that know a STATE; those that nobody has come for in 30 days are removed.

    Raises:
        OSError: they cannot be read.
    """
    found = []
    for path in sorted(folder.glob(f"{prefix}*.journal")):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its run has ended, however
            if os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue  # a run under way has just rewritten it
            told = read(file.read(), leading)
            if told is not None:
                found.append(Left(path, Known(told.acknowledged), told.unanswered))
            if time.time() - path.stat().st_mtime > MAX_AGE_SECONDS:
                path.unlink()
    return found
