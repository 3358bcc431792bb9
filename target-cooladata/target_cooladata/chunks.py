"""An input in chunks of whole lines.

In: a file, a pipe, or a file in memory. Out: bytes as they come, cut behind a line feed; and a word whenever nothing
has come for a moment. Refused: a line longer than `MAX_LINE_BYTES`, and an input that cannot
be read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import typing as t

from target_cooladata.exceptions import InputError

POLL_SECONDS = 0.2  # how long a signal or a due batch may wait while the input is silent
READ_BYTES = 1 << 18
PIPE_BYTES = 1 << 20  # what Linux allows everyone; with the usual 64 KiB, whoever writes waits for each read
MAX_LINE_BYTES = 64 << 20  # Meltano relays lines up to 50 MiB


def chunks_of_lines(source: t.IO[t.Any], read_bytes: int = READ_BYTES) -> t.Iterator[bytes | None]:
    """Cut an input into chunks of whole lines, without the last line feed; None says that nothing came.

    Raises:
        InputError: for a line over `MAX_LINE_BYTES`, or where the input cannot be read.
    """
    return whole_lines(_reads(source, read_bytes), "a line of the input")


def whole_lines(reads: t.Iterable[bytes | None], what: str) -> t.Iterator[bytes | None]:
    """Cut what is read into chunks of whole lines; None is passed on.

    Args:
        reads: the parts as they were read.
        what: a line, in an error's words.

    Raises:
        InputError: for a line over `MAX_LINE_BYTES`.
    """
    rest: list[bytes] = []
    size = 0
    for data in reads:
        if data is None:
            yield None
            continue
        head, line_feed, tail = data.rpartition(b"\n")
        if line_feed:
            yield b"".join([*rest, head])
            rest, size = [], 0
        rest.append(tail)
        size += len(tail)
        if size > MAX_LINE_BYTES:
            msg = f"{what} is longer than {MAX_LINE_BYTES:,} bytes, the most that is read as one message"
            raise InputError(msg)
    if size:
        yield b"".join(rest)


def _reads(source: t.IO[t.Any], read_bytes: int) -> t.Iterator[bytes | None]:
    """Read to the end; None says that nothing came for a moment."""
    try:
        descriptor = source.fileno()
    except (OSError, AttributeError):  # an in-memory file
        while data := source.read(read_bytes):
            yield data if isinstance(data, bytes) else data.encode()
        return
    _widen(descriptor)
    while True:
        if not select.select([descriptor], [], [], POLL_SECONDS)[0]:
            yield None
        elif data := _read(descriptor, read_bytes):
            yield data
        else:
            return


def _widen(descriptor: int) -> None:
    """Let a pipe hold more, so that both its ends can be at work."""
    with contextlib.suppress(OSError, AttributeError):  # no pipe, no room left for this user's pipes, or no Linux
        if fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) < PIPE_BYTES:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _read(descriptor: int, size: int) -> bytes:
    try:
        return os.read(descriptor, size)
    except OSError as error:
        msg = f"the input cannot be read to its end ({error.strerror})"
        raise InputError(msg) from None
