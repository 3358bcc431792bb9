"""Refused records, kept with their reason.

In: a record, why it was refused, and what the API said. Out: newline-delimited JSON in
`PATH/<UTC date>/<run id>.json`, in a local folder (mode 0600) or behind any URI that smart_open can write. After `sync`
everything written so far is durable; an object store shows an object only once it is whole, so there each `sync`
uploads one (`<run id>.json`, `<run id>-2.json`, …). Nothing is created before the first reject.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import typing as t
from pathlib import Path

import msgspec

from target_cooladata import uploads
from target_cooladata.exceptions import RejectsError


class Reject(msgspec.Struct, frozen=True):
    """A refused record, in the order in which its fields are written.

    Attributes:
        reason: a word from `events.REASONS`.
        detail: a sentence.
        rejected_at: RFC 3339, UTC.
        stream: the Singer stream.
        record: the record as it came in, as JSON; or its text, where it is not JSON.
        status: the HTTP status of the API's last answer, if it was the API that refused.
    """

    reason: str
    detail: str
    rejected_at: str
    stream: str
    record: msgspec.Raw | str
    status: int | None


class RejectsWriter:
    """Writes the rejects of one run.

    Args:
        path: a local folder or a URI.
        run_id: the name of the file.
        is_hurried: whether the run is to end soon, so that a storage that does not answer is not waited for.
    """

    def __init__(self, path: str, run_id: str, is_hurried: t.Callable[[], bool] = lambda: False) -> None:
        self._is_hurried = is_hurried
        self._path = path.removeprefix("file://").rstrip("/") or "/"
        self._is_local = "://" not in self._path
        self._run_id = run_id
        self._date = dt.datetime.now(dt.UTC).date().isoformat()
        self._encode = msgspec.json.Encoder().encode
        self._file: t.IO[bytes] | None = None
        self._parts = 0
        self._place = ""
        self._dirty = False
        self._failure: RejectsError | None = None
        self.location: str | None = None

    def write(self, *, reason: str, detail: str, stream: str, record: bytes, status: int | None = None) -> None:
        """Keep one record; `sync` makes it durable.

        Raises:
            RejectsError: it cannot be written.
        """
        reject = Reject(reason, detail, dt.datetime.now(dt.UTC).isoformat(), stream, _as_json(record), status)
        with self._failing_for_good():
            if self._file is None:
                self._file = self._open()
            self._file.write(self._encode(reject) + b"\n")
        self._dirty = True

    def sync(self) -> None:
        """Make everything written so far durable.

        Raises:
            RejectsError: it cannot be written, now or before: what was written since the last `sync` may be lost.
        """
        with self._failing_for_good():
            if self._file is None or not self._dirty:
                return
            if self._is_local:
                self._file.flush()
                os.fsync(self._file.fileno())
            else:
                content, self._file = self._file, None
                uploads.upload(content, self._place, self._is_hurried)
        self._dirty = False

    def close(self) -> None:
        """Make everything durable and close.

        Raises:
            RejectsError: it cannot be written.
        """
        self.sync()
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextlib.contextmanager
    def _failing_for_good(self) -> t.Iterator[None]:
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except (OSError, uploads.UploadError) as error:
            self._failure = self._explained(error)
            self.location = None
            if self._file is not None:
                with contextlib.suppress(OSError):
                    self._file.close()
            raise self._failure from None

    def _open(self) -> t.IO[bytes]:
        self._parts += 1
        name = self._run_id if self._parts == 1 else f"{self._run_id}-{self._parts}"
        self._place = f"{self._path}/{self._date}/{name}.json"
        self.location = _without_secrets(self._place)
        if not self._is_local:
            return uploads.spool()
        file = Path(self._place)
        file.parent.mkdir(parents=True, exist_ok=True)
        return open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")  # noqa: PTH123 - mode at creation; closed in close()

    def _explained(self, error: Exception) -> RejectsError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        where = _without_secrets(self._path)
        msg = (
            f"the rejects file cannot be written below {where} ({why}), so a refused record would be lost; "
            "check `rejects_path`"
        )
        return RejectsError(msg)


def _without_secrets(place: str) -> str:
    """A URI without user, password and query; all before the last `@`, because a password may hold anything."""
    scheme, separator, rest = place.partition("://")
    if not separator:
        return place
    return f"{scheme}://{rest.rpartition('@')[2].split('?', maxsplit=1)[0]}"


def _as_json(record: bytes) -> msgspec.Raw | str:
    try:
        msgspec.json.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return record.decode("utf-8", "backslashreplace")
    return msgspec.Raw(record)
