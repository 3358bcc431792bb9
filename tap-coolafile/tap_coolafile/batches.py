"""BATCH messages: in go records as bytes, out come JSONL files below `batch_config.storage.root`, and their manifest.

A file is whole and durable before a manifest names it. Its name carries the run's id, so that whoever cleans up can
tell whose it is. Refuses formats other than JSONL, compressions other than gzip, and roots that are not local folders.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import typing as t
import urllib.parse
from pathlib import Path

import msgspec

from tap_coolafile.exceptions import SettingError, StorageError

_GZIP_LEVEL = 1  # three times as quick as the default, for a tenth more bytes


class _Encoding(msgspec.Struct):
    format: str
    compression: str | None = None


class _Storage(msgspec.Struct):
    root: str
    prefix: str | None = None


class BatchSettings(msgspec.Struct):
    """The SDK's `batch_config`: encoding, storage, and rows a file."""

    encoding: _Encoding
    storage: _Storage
    batch_size: int | None = None

    @property
    def rows(self) -> int:
        """At most so many rows go into a file; the SDK's default where nothing else is set."""
        return self.batch_size or 10_000

    @property
    def folder(self) -> Path:
        """The local folder that `storage.root` names."""
        _, is_uri, path = self.storage.root.partition("://")
        return Path(urllib.parse.unquote(path, errors="surrogateescape") if is_uri else self.storage.root).absolute()


def batch_settings(config: t.Mapping[str, t.Any]) -> BatchSettings:
    """Check a `batch_config`.

    Raises:
        SettingError: it asks for what is not done here.
    """
    try:
        found = msgspec.convert(config, BatchSettings)
    except msgspec.ValidationError:
        msg = "batch_config is not as the SDK describes it: encoding.format and storage.root are expected"
        raise SettingError(msg) from None
    if found.encoding.format != "jsonl":
        msg = f"batch_config.encoding.format is {found.encoding.format!r}; this tap writes jsonl"
        raise SettingError(msg)
    if found.encoding.compression not in {None, "none", "gzip"}:
        msg = f"batch_config.encoding.compression is {found.encoding.compression!r}; this tap writes gzip or none"
        raise SettingError(msg)
    root = found.storage.root
    scheme = root.partition("://")[0].lower() if "://" in root else ""
    if scheme == "file" and not root[len("file://") :].startswith("/"):
        msg = "batch_config.storage.root names another host; local folders are file:///path"
        raise SettingError(msg)
    if scheme not in {"", "file"} or not root:
        msg = f"batch_config.storage.root is on {scheme or 'nothing'}; this tap writes batch files to a local folder"
        raise SettingError(msg)
    if found.rows < 1:
        msg = "batch_config.batch_size is less than 1"
        raise SettingError(msg)
    return found


class BatchFiles:
    """The batch files of one run."""

    def __init__(self, settings: BatchSettings, *, run_id: str, stream: str) -> None:
        self._settings = settings
        self._name = f"tap-coolafile--{urllib.parse.quote(stream, safe='')}-{run_id}"
        self._zipped = settings.encoding.compression == "gzip"
        self._count = self._rows = 0
        self._file: t.BinaryIO | None = None
        self._out: t.Any = None
        self._path = Path()
        self._manifest: list[str] = []

    @property
    def compression(self) -> str | None:
        """What BATCH messages say of it."""
        return self._settings.encoding.compression

    def add(self, records: t.Sequence[bytes]) -> None:
        """Write records, each the text of a JSON object on one line.

        Raises:
            StorageError: they cannot be written; the message names `batch_config`.
        """
        with self._explained():
            begin = 0
            while begin < len(records):
                if self._file is None:
                    self._open()
                part = records[begin : begin + self._settings.rows - self._rows]
                self._out.write(b"\n".join(part) + b"\n")
                begin += len(part)
                self._rows += len(part)
                if self._rows >= self._settings.rows:
                    self._finish()

    def take(self) -> list[str]:
        """Finish the file at hand; return the URIs of all files since the last call.

        Raises:
            StorageError: as `add`.
        """
        with self._explained():
            self._finish()
        manifest, self._manifest = self._manifest, []
        return manifest

    def discard(self) -> None:
        """Remove what no message named, so that nothing of it is ever loaded."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            self._path.unlink(missing_ok=True)
        for uri in self._manifest:
            Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path, errors="surrogateescape")).unlink(
                missing_ok=True
            )
        self._manifest = []

    def _open(self) -> None:
        folder = self._settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        ending = ".jsonl.gz" if self._zipped else ".jsonl"
        self._path = folder / f"{self._settings.storage.prefix or ''}{self._name}-{self._count}{ending}"
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._out = self._file
        if self._zipped:
            self._out = gzip.GzipFile("", "wb", _GZIP_LEVEL, self._file, mtime=0)
        self._rows = 0

    def _finish(self) -> None:
        if self._file is None:
            return
        if self._zipped:
            self._out.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self._rows = 0
        self._manifest.append(self._path.as_uri())

    @contextlib.contextmanager
    def _explained(self) -> t.Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = f"batch files cannot be written to {self._settings.folder} ({error.strerror}); check batch_config"
            raise StorageError(msg) from None
