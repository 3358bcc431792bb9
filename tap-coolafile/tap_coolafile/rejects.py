"""Quarantine: in go rejected rows, out comes a file of newline-delimited JSON, one object a line, kept for repair.

`PATH/<UTC date>/<run id>.json`, mode 0600, in a local folder, or below any URI that smart_open can write. `secure`
returns only once everything written so far is durable; the caller writes no STATE before that.
"""

from __future__ import annotations

import base64
import datetime as dt
import os
import typing as t
from pathlib import Path

import msgspec

from tap_coolafile.exceptions import SettingError, StorageError
from tap_coolafile.paths import encoded, text_of
from tap_coolafile.uris import redacted

if t.TYPE_CHECKING:
    from tap_coolafile.sources import Write

_HELD_BYTES = 8 << 20


class RejectsFile:
    """The rejects of one run; no file appears before the first of them.

    `writer` returns what writes below a URI; it is asked once, for the first reject.
    """

    def __init__(self, path: str, *, run_id: str, stream: str, writer: t.Callable[[str], Write]) -> None:
        self._path = path.removeprefix("file://")  # a local folder, by its other name
        self._run_id = run_id
        self._stream = stream
        self._writer = writer
        self._write: Write | None = None
        self._lines: list[bytes] = []
        self._held = 0
        self._local: t.BinaryIO | None = None
        self._parts = 0
        self._written = ""

    @property
    def location(self) -> str:
        """Where the rejects are, without secrets; empty if there are none."""
        return redacted(encoded(text_of(self._written)))

    def add(  # noqa: PLR0913 - the fields of a reject, each by name
        self, *, reason: str, detail: str, source: str, line: int, offset: int, row: bytes
    ) -> None:
        """Keep one row: `line` from 1, `offset` in bytes from 0, `row` as it stood in the file.

        Raises:
            StorageError, SettingError: as `secure`, which is not put off once 8 MiB are held.
        """
        entry: dict[str, t.Any] = {
            "reason": reason,
            "detail": detail,
            "rejected_at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "stream": self._stream,
            "source": source,
            "line": line,
            "offset": offset,
        }
        try:
            entry["row"] = row.decode()
        except UnicodeDecodeError:
            entry["row_base64"] = base64.b64encode(row).decode()
        self._lines.append(msgspec.json.encode(entry) + b"\n")
        self._held += len(self._lines[-1])
        if self._held > _HELD_BYTES:
            self.secure()

    def secure(self) -> None:
        """Make everything added so far durable.

        Raises:
            StorageError: it cannot be written; the message names `rejects_path` or who was to be signed in to.
            SettingError: the library for its storage is not installed, or has nobody to sign in as.
        """
        if not self._lines:
            return
        data = b"".join(self._lines)
        try:
            if "://" in self._path:
                self._write_part(data)
            else:
                self._append(data)
        except (SettingError, StorageError):
            raise
        except Exception as error:  # noqa: BLE001 - each client library raises its own kinds
            words = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            msg = f"rejects cannot be written below {redacted(self._path)} ({words}); check rejects_path"
            raise StorageError(msg) from None
        self._lines, self._held = [], 0  # not before: whoever tries to write a state next must fail again

    def close(self) -> None:
        """Secure what is left and close the file."""
        self.secure()
        if self._local is not None:
            self._local.close()
            self._local = None

    def _append(self, data: bytes) -> None:
        if self._local is None:
            folder = Path(self._path) / self._day()
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{self._run_id}.json"
            self._local = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
            self._written = str(path)
            _sync_folder(folder)
        self._local.write(data)
        self._local.flush()
        os.fsync(self._local.fileno())

    def _write_part(self, data: bytes) -> None:
        """Write one object; object storages cannot append, so a run that is secured again starts the next part."""
        self._parts += 1
        suffix = f".{self._parts}" if self._parts > 1 else ""
        uri = f"{self._path.rstrip('/')}/{self._day()}/{self._run_id}{suffix}.json"
        if self._write is None:
            self._write = self._writer(self._path)
        self._write(uri, data)
        self._written = self._written or uri

    def _day(self) -> str:
        return dt.datetime.now(dt.UTC).date().isoformat()


def _sync_folder(folder: Path) -> None:
    """Make the file's name durable too, not only its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
