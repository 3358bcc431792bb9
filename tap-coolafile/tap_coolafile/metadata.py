"""Metadata columns: in goes a record's text, out comes the same with its file, line and the file's stamp appended."""

from __future__ import annotations

import datetime as dt
import typing as t

import msgspec

if t.TYPE_CHECKING:
    from tap_coolafile.sources.base import FileItem


def with_metadata(records: t.Sequence[bytes | None], item: FileItem, line: int) -> list[bytes | None]:
    """Append the metadata columns to `records`; the first is from line `line` (from 1) of `item`."""
    stamp = dt.datetime.fromtimestamp(item.mtime_ms / 1000, tz=dt.UTC).isoformat(timespec="milliseconds")
    head = b',"_sdc_source_file":' + msgspec.json.encode(item.name) + b',"_sdc_source_lineno":'
    tail = b',"_sdc_source_file_mtime":' + msgspec.json.encode(stamp.replace("+00:00", "Z")) + b"}"
    return [
        None if record is None else record.rstrip()[:-1] + head + b"%d" % number + tail
        for number, record in enumerate(records, line)
    ]
