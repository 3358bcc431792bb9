"""Files in Azure Blob Storage, through Azure's client: listed by pages, read from an offset by ranges.

Listings must come in the order of names, as those of accounts with a flat namespace do; one in another order ends the
run, since a pass that goes on after a name would miss what the server lists before it.
"""

from __future__ import annotations

import typing as t

from tap_coolafile.exceptions import StorageError
from tap_coolafile.sources.azure_client import client
from tap_coolafile.sources.azure_refusals import AWAY, FAILURE, BusyError, refusal, wait_where_busy
from tap_coolafile.sources.base import FileItem
from tap_coolafile.sources.refusals import Call
from tap_coolafile.sources.remote import Clock, Patience, paged

if t.TYPE_CHECKING:
    from azure.core.paging import ItemPaged
    from azure.storage.blob import BlobProperties

    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_RANGES_BYTES = 8 << 20  # the library holds a whole range in memory, so files that download together share this
_T = t.TypeVar("_T")


class AzureSource:
    """Blobs of one container that match an entry of `uris`."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._settings = settings
        self._clock = Clock()
        self._patience = Patience(away=AWAY, busy=(BusyError,))
        self._hook: dict[str, t.Any] = {
            "raw_response_hook": lambda answer: self._clock.set(answer.http_response.headers.get("Date"))
        }
        self._container = client(settings).get_container_client(pattern.place)
        self._range_bytes = _RANGES_BYTES // settings.prefetch_files

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List matching blobs in order of their names; see `Source.files`."""
        if self._pattern.kind == "file":
            blob = self._container.get_blob_client(self._pattern.path)
            call = Call("Get Blob Properties", self._pattern.place, self._pattern.name, literal=True)
            found = self._call(call, lambda: blob.get_blob_properties(**self._hook))
            if self._pattern.path > after:
                yield self._item(found)
            return
        last = ""
        for found in self._listed(after):
            if found.name < last:
                msg = (
                    f"container {self._pattern.place} lists {found.name} after {last}, as accounts with a hierarchical "
                    f"namespace do; give prefixes in uris below which names and folders sort alike"
                )
                raise StorageError(msg)
            last = found.name
            if last > after and self._pattern.matches_object(last):
                yield self._item(found)

    def open(self, item: FileItem, offset: int) -> Handle:
        """Read the first range from `offset` on; see `Source.open`."""
        return _Ranges(lambda at: self._range(item, at), offset)

    def now_ms(self) -> int:
        """Return the server's clock, as its last answer told it."""
        return self._clock.now_ms()

    def _listed(self, after: str) -> t.Iterator[BlobProperties]:
        call = Call("List Blobs", self._pattern.place)
        return paged(lambda token: self._call(call, lambda: self._page(after, token)))

    def _page(self, after: str, token: str | None) -> tuple[list[BlobProperties], str | None]:
        """Ask for one page; each by an iterator of its own, as after a failure one ends as if there were no more."""
        prefix = self._pattern.literal or None
        found: ItemPaged[t.Any]
        if self._pattern.is_flat:
            found = self._container.walk_blobs(prefix, **self._hook)
        else:  # servers that do not know start_from list all
            start = max(after, prefix or "") if after else None
            found = self._container.list_blobs(prefix, start_from=start, **self._hook)
        pages: t.Any = found.by_page(token)
        return [blob for blob in next(pages, ()) if "etag" in blob], pages.continuation_token  # a folder has no ETag

    def _range(self, item: FileItem, at: int) -> bytes:
        """Read the range of `item` that begins at a byte; empty at its end."""
        if at >= item.size:
            return b""
        from azure.core import MatchConditions  # noqa: PLC0415 - azure_client says what to install where it is missing

        blob = self._container.get_blob_client(item.path)
        asked: dict[str, t.Any] = {
            "etag": item.etag,
            "match_condition": MatchConditions.IfNotModified,
            "decompress": False,
        }
        length = min(self._range_bytes, item.size - at)
        call = Call("Get Blob", self._pattern.place, item.name)
        found: bytes = self._call(call, lambda: blob.download_blob(at, length, **asked).readall())
        return found

    def _item(self, blob: BlobProperties) -> FileItem:
        mtime_ms = int(blob.last_modified.timestamp() * 1000)
        name = f"azure://{self._pattern.place}/{blob.name}"
        etag = '"' + blob.etag.strip('"') + '"'  # listings leave the quotes out, other answers do not
        return FileItem(name, blob.name, blob.size, mtime_ms, etag, archived=str(blob.blob_tier) == "Archive")

    def _call(self, call: Call, made: t.Callable[[], _T]) -> _T:
        """Ask the server; its refusals become ours."""
        try:
            return self._patience.ask(lambda: wait_where_busy(made))
        except FAILURE as error:
            raise refusal(error, call, self._settings) from None


class _Ranges:
    """A blob being read range by range, each for the content that was listed, and again if its connection breaks."""

    def __init__(self, fetch: t.Callable[[int], bytes], offset: int) -> None:
        self._fetch = fetch
        self._rest = fetch(offset)
        self._next = offset + len(self._rest)

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            StorageError: the server cannot be reached any more.
            BadFileError: the blob changed.
        """
        if not self._rest:
            self._rest = self._fetch(self._next)
            self._next += len(self._rest)
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def close(self) -> None:
        """Let go of what was fetched; no connection is held between ranges."""
        self._rest = b""
