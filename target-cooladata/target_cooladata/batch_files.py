"""The files of BATCH messages, as rows.

In: a manifest and its encoding, as the SDK's taps write them: newline-delimited JSON records, plain or gzip. Out: the
rows, some at a time, with memory bounded by the longest of them. Refused: another format or compression, a file that is
not below `batch_root` (links resolved), one that is missing or broken. A message must not make the target read any file
that it names.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import typing as t
import zlib
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from target_cooladata.chunks import whole_lines
from target_cooladata.exceptions import InputError

CHUNK_BYTES = 1 << 18
_RUN_ID = "[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}"


def disposable(uri: str, stream: str, root: str | None) -> Path | None:
    """Say whether a file is our own tap's, made for this stream in one of its runs, and so may be deleted once loaded.

    Returns:
        Its path, links resolved; None for any other file.

    Raises:
        InputError: as `rows`.
    """
    path = _resolve(uri, root)
    ours = rf"tap-coolafile--{re.escape(quote(stream, safe=''))}-{_RUN_ID}-[0-9]+\.jsonl(\.gz)?"
    return path if re.search(f"{ours}$", path.name) else None


def rows(uri: str, encoding: t.Mapping[str, t.Any], root: str | None) -> t.Iterator[list[bytes]]:
    """Read one file.

    Args:
        uri: `file://` or a path.
        encoding: `format` and `compression`.
        root: the folder below which it must be.

    Raises:
        InputError: what is refused.
    """
    path = _resolve(uri, root)
    with _explained(path), _open(path, encoding) as file:
        for text in whole_lines(iter(partial(file.read, CHUNK_BYTES), b""), f"a row of the batch file {path}"):
            yield [row for line in (text or b"").split(b"\n") if (row := line.strip())]


def _resolve(uri: str, root: str | None) -> Path:
    if not root:
        msg = "a BATCH message came, and `batch_root` does not say below which folder its files are"
        raise InputError(msg)
    try:
        parts = urlsplit(uri)
        path = Path(unquote(parts.path) if parts.scheme else uri).resolve()
    except (ValueError, RuntimeError):  # the latter for a link that leads to itself
        msg = "a BATCH message names a file by what leads to none; expected file:// below `batch_root`"
        raise InputError(msg) from None
    if parts.scheme not in {"", "file"}:
        msg = f"a BATCH message names a {parts.scheme}:// file; expected file:// below `batch_root`"
        raise InputError(msg)
    folder = unquote(urlsplit(root).path) if root.startswith("file:///") else root  # as the tap's `batch_config` has it
    if not path.is_relative_to(Path(folder).resolve()):
        msg = f"a BATCH message names a file that is not below `batch_root` ({root}), so it is not read"
        raise InputError(msg)
    return path


def _open(path: Path, encoding: t.Mapping[str, t.Any]) -> t.IO[bytes]:
    kind, compression = encoding.get("format"), encoding.get("compression") or "none"
    if kind != "jsonl" or compression not in {"none", "gzip"}:
        msg = f"a BATCH message has files in {kind} with compression {compression}; expected jsonl, plain or gzip"
        raise InputError(msg)
    if path.exists() and not path.is_file():  # a pipe that nobody writes to would hold up the run for ever
        msg = f"a BATCH message names {path}, which is no regular file"
        raise InputError(msg)
    return t.cast("t.IO[bytes]", gzip.open(path, "rb")) if compression == "gzip" else path.open("rb")


@contextlib.contextmanager
def _explained(path: Path) -> t.Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "its gzip stream is broken"
        msg = f"the batch file {path} cannot be read to its end ({why}); the rows before that are loaded"
        raise InputError(msg) from None
