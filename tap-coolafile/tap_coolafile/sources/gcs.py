"""Files in Google Cloud Storage, through Google's client: listed by pages, read from an offset by one request.

An object is known by its generation, which each new content changes, and dated by the time that content was made. It
is read as it is stored: one marked as `gzip` is not unfolded on the way, since that would leave no bytes to count by.
"""

from __future__ import annotations

import typing as t
import urllib.parse

import urllib3

from tap_coolafile.exceptions import SettingError
from tap_coolafile.sources.base import FileItem
from tap_coolafile.sources.gcs_client import client, session
from tap_coolafile.sources.gcs_refusals import AWAY, BUSY, FAILURE, raise_for, refusal
from tap_coolafile.sources.refusals import Call
from tap_coolafile.sources.remote import Clock, Download, Patience, paged

if t.TYPE_CHECKING:
    import google.cloud.storage
    import requests

    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_BROKEN = (urllib3.exceptions.HTTPError, OSError)
_FIELDS = "items(name,size,generation,timeCreated),nextPageToken"
_CONNECT_S = 10
_T = t.TypeVar("_T")


class GcsSource:
    """Objects of one bucket that match an entry of `uris`."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._settings = settings
        self._timeout = (_CONNECT_S, settings.request_timeout_seconds)
        self._clock = Clock()
        self._patience = Patience(away=AWAY, busy=BUSY)
        try:
            self._session = session(settings)
            self._client = client(settings, self._session)
        except FAILURE as error:
            raise refusal(error, Call("signing in", pattern.place), settings) from None
        self._session.hooks["response"].append(lambda answer, **_: self._clock.set(answer.headers.get("Date")))
        try:
            self._bucket = self._client.bucket(pattern.place, user_project=settings.gcs_user_project)
        except ValueError:
            msg = f"uris: {pattern.place!r} is no name of a bucket of Google Cloud Storage"
            raise SettingError(msg) from None

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List matching objects in key order; see `Source.files`."""
        if self._pattern.kind == "file":
            call = Call("storage.objects.get", self._pattern.place, self._pattern.name, literal=True)
            found = self._call(call, self._described)
            if self._pattern.path > after:
                yield self._item(found)
            return
        for blob in self._listed(after):
            if blob.name > after and self._pattern.matches_object(blob.name):
                yield self._item(blob)

    def open(self, item: FileItem, offset: int) -> Handle:
        """Start reading at `offset`; see `Source.open`."""
        return Download(self._connect, item, offset, _BROKEN)

    def now_ms(self) -> int:
        """Return the server's clock, as its last answer told it."""
        return self._clock.now_ms()

    def _described(self) -> google.cloud.storage.Blob:
        blob = self._bucket.blob(self._pattern.path)
        blob.reload(timeout=self._timeout, retry=None)
        return blob

    def _listed(self, after: str) -> t.Iterator[google.cloud.storage.Blob]:
        call = Call("storage.objects.list", self._pattern.place)
        return paged(lambda token: self._call(call, lambda: self._page(after, token)))

    def _page(self, after: str, token: str | None) -> tuple[list[google.cloud.storage.Blob], str | None]:
        """Ask for one page; each by an iterator of its own, as after a failure one ends as if there were no more."""
        pages = self._client.list_blobs(
            self._bucket,
            prefix=self._pattern.literal or None,
            start_offset=max(after, self._pattern.literal) or None,
            delimiter="/" if self._pattern.is_flat else None,
            fields=_FIELDS,
            page_token=token,
            timeout=self._timeout,
            retry=None,
        )
        return list(next(pages.pages, ())), pages.next_page_token

    def _connect(self, item: FileItem, offset: int) -> t.Any:
        """GET the object from `offset` on; return the body, not yet read."""
        if item.ends_at(offset):
            return None
        call = Call("storage.objects.get", self._pattern.place, item.name)
        return self._call(call, lambda: self._get(item, offset)).raw

    def _get(self, item: FileItem, offset: int) -> requests.Response:
        # By the session, as the client itself writes whole objects to where it is told, and has no stream to read.
        place = f"/download/storage/v1/b/{self._pattern.place}/o/{urllib.parse.quote(item.path, safe='')}"
        asked = {"alt": "media", "ifGenerationMatch": item.etag}
        if self._settings.gcs_user_project:
            asked["userProject"] = self._settings.gcs_user_project
        span = item.range_from(offset)
        headers = {"Accept-Encoding": "gzip"} | ({"Range": span} if span else {})
        url = self._client.api_endpoint + place
        response = self._session.get(url, params=asked, headers=headers, stream=True, timeout=self._timeout)
        raise_for(response)
        return response

    def _item(self, blob: google.cloud.storage.Blob) -> FileItem:
        mtime_ms = int(blob.time_created.timestamp() * 1000)
        return FileItem(f"gs://{self._pattern.place}/{blob.name}", blob.name, blob.size, mtime_ms, str(blob.generation))

    def _call(self, call: Call, made: t.Callable[[], _T]) -> _T:
        """Ask the server; its refusals become ours."""
        try:
            return self._patience.ask(made)
        except FAILURE as error:
            raise refusal(error, call, self._settings) from None
