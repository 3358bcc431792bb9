"""Which storage serves an entry of `uris`; each is imported only when needed (boto3 alone costs half a second)."""

from __future__ import annotations

import typing as t

from tap_coolafile.sources.base import FileItem, Handle, Source

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.uris import Pattern

Write = t.Callable[[str, bytes], None]
"""Writes a file or object of that URI; returns once it is durable."""

__all__ = ["FileItem", "Handle", "Source", "Write", "open_source", "writer"]


def open_source(pattern: Pattern, settings: Settings, check: t.Callable[[], None]) -> Source:
    """Connect to the storage of `pattern`; any wait for a network ends when `check`, called meanwhile, raises.

    Raises:
        StorageError: signing in failed.
        SettingError: no library here reads that scheme.
        StoppedError: a signal came meanwhile.
    """
    if pattern.scheme == "file":
        from tap_coolafile.sources.local import LocalSource  # noqa: PLC0415 - see above

        return LocalSource(pattern)  # needs no threads, and is quicker without
    from tap_coolafile.sources.ahead import Ahead  # noqa: PLC0415 - see above

    return Ahead(lambda: _connected(pattern, settings), settings.prefetch_files, check)


def _connected(pattern: Pattern, settings: Settings) -> Source:
    if pattern.scheme == "s3":
        from tap_coolafile.sources.s3 import S3Source  # noqa: PLC0415 - see above

        return S3Source(pattern, settings)
    if pattern.scheme in {"http", "https"}:
        from tap_coolafile.sources.http import HttpSource  # noqa: PLC0415 - see above

        return HttpSource(pattern, settings)
    if pattern.scheme == "sftp":
        from tap_coolafile.sources.sftp import SftpSource  # noqa: PLC0415 - see above

        return SftpSource(pattern, settings)
    if pattern.scheme == "gs":
        from tap_coolafile.sources.gcs import GcsSource  # noqa: PLC0415 - see above

        return GcsSource(pattern, settings)
    if pattern.scheme == "azure":
        from tap_coolafile.sources.azure import AzureSource  # noqa: PLC0415 - see above

        return AzureSource(pattern, settings)
    from tap_coolafile.sources.other import OtherSource  # noqa: PLC0415 - see above

    return OtherSource(pattern, settings)


def writer(uri: str, settings: Settings) -> Write:
    """Return what writes a whole file or object below `uri`, with the credentials of the settings.

    Raises:
        StorageError: signing in failed.
        SettingError: the library for that scheme is not installed, or has nobody to sign in as.
    """
    if uri.partition("://")[0].lower() in {"sftp", "ssh", "scp"}:  # by smart_open, any server would do
        from tap_coolafile.sources import sftp_client  # noqa: PLC0415 - see above

        return sftp_client.writer(uri, settings)
    from tap_coolafile.sources.other import writer as by_smart_open  # noqa: PLC0415 - see above

    return by_smart_open(_transport_params(uri, settings))


def _transport_params(uri: str, settings: Settings) -> dict[str, t.Any]:
    """Return what smart_open needs to open `uri` with the credentials of the settings."""
    scheme = uri.partition("://")[0].lower()
    made: t.Any = None
    if "client" in settings.transport_params:
        return settings.transport_params
    if scheme in {"s3", "s3a", "s3n"}:
        from tap_coolafile.sources import s3_client  # noqa: PLC0415 - see above

        made = s3_client.client(settings)
    elif scheme in {"gs", "gcs"}:
        from tap_coolafile.sources import gcs_client  # noqa: PLC0415 - see above

        made = gcs_client.client(settings)
    elif scheme == "azure":
        from tap_coolafile.sources import azure_client  # noqa: PLC0415 - see above

        made = azure_client.client(settings)
    return settings.transport_params | ({"client": made} if made is not None else {})
