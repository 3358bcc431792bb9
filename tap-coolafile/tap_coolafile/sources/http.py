"""One file behind an http(s) URI: asked for its size and ETag, then read by GET, from a byte offset if need be.

A connection that breaks is taken up again at its byte, a few times; a file that changed meanwhile is a bad file. The
URI may hold user info or a signature: both go to the server alone, never into a message.
"""

from __future__ import annotations

import email.utils
import logging
import time
import typing as t

import requests
import urllib3

from tap_coolafile.exceptions import BadFileError, MissingFileError, StorageError
from tap_coolafile.sources.base import FileItem

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_LOGGER = logging.getLogger("tap-coolafile")
_CONNECT_S = 10
_ATTEMPTS = 5
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
PAUSE_S = 0.2
_IDENTITY = {"Accept-Encoding": "identity"}


class HttpSource:
    """The one file of an http(s) entry."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._timeout_s = (_CONNECT_S, settings.request_timeout_seconds)
        self._session = requests.Session()
        self._skew_ms = 0

    def files(self, after: str) -> t.Iterator[FileItem]:
        """Yield the file, described by its headers; see `Source.files`."""
        response = self._ask("HEAD", {})
        if response.status_code in {403, 405, 501}:  # servers that answer GET alone, and URLs signed for GET
            response = self._ask("GET", {})
        response.close()
        self._refuse(response)
        headers = response.headers
        stamp = _stamp_ms(headers.get("Last-Modified"))
        self._skew_ms = (_stamp_ms(headers.get("Date")) or _now_ms()) - _now_ms()
        size = int(headers.get("Content-Length", "-1"))
        etag = headers.get("ETag") or f"{size}-{headers.get('Last-Modified', '')}"
        if not any(name in headers for name in ("ETag", "Last-Modified", "Content-Length")):
            _LOGGER.warning(
                "%s comes without ETag, Last-Modified and Content-Length: no change of it can be seen, so once it was "
                "read it is not read again",
                self._pattern.name,
            )
        if self._pattern.path > after:
            yield FileItem(self._pattern.name, self._pattern.path, size, stamp or self.now_ms(), etag)

    def open(self, item: FileItem, offset: int) -> Handle:
        """Start reading at `offset`; see `Source.open`."""
        return _Download(self, item, offset)

    def now_ms(self) -> int:
        """Return the server's clock, as its last answer told it."""
        return _now_ms() + self._skew_ms

    def connect(self, item: FileItem, offset: int) -> requests.Response:
        """GET `item` from `offset` on, the body not yet read."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        response = self._ask("GET", headers)
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            response.close()
            msg = f"{item.name} is shorter than the byte {offset} it was read up to"
            raise BadFileError(msg)
        self._refuse(response)
        found = response.headers.get("ETag")
        if found and item.etag and found != item.etag:
            response.close()
            msg = f"{item.name} changed while it was read; the next run reads it as a changed file"
            raise BadFileError(msg)
        if offset and response.status_code == requests.codes.ok:
            _skip(response, offset)
        return response

    def _ask(self, method: str, headers: dict[str, str]) -> requests.Response:
        """Send one request, again after a pause where the server or the network asks for patience."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                response = self._session.request(
                    method,
                    self._pattern.uri,
                    headers=_IDENTITY | headers,
                    stream=True,
                    timeout=self._timeout_s,
                    allow_redirects=True,
                )
            except requests.RequestException as error:
                if attempt == _ATTEMPTS or not isinstance(error, requests.ConnectionError | requests.Timeout):
                    # The library's own words would quote the URI, signature and all.
                    msg = f"{self._pattern.name} cannot be reached ({type(error).__name__}); check uris"
                    raise StorageError(msg) from None
            else:
                if response.status_code not in _RETRIED or attempt == _ATTEMPTS:
                    return response
                response.close()
            time.sleep(min(PAUSE_S * 2**attempt, 5))
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _refuse(self, response: requests.Response) -> None:
        status = response.status_code
        if status in {404, 410}:
            msg = f"{self._pattern.name} does not exist (HTTP {status}); uris names it literally, so it must"
            raise MissingFileError(msg)
        if status in {401, 403}:
            msg = (
                f"{self._pattern.name} may not be read (HTTP {status}); check that the URI in uris carries a valid "
                f"user and password, or a signature that is not expired"
            )
            raise StorageError(msg)
        if not response.ok:
            msg = f"{self._pattern.name} cannot be read: the server answers HTTP {status}"
            raise StorageError(msg)


class _Download:
    """A body being read; a break is mended by asking again from the byte it came at."""

    def __init__(self, source: HttpSource, item: FileItem, offset: int) -> None:
        self._source = source
        self._item = item
        self._offset = offset
        self._response = source.connect(item, offset)

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            StorageError: the connection broke again and again.
            BadFileError: the file changed meanwhile.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                data: bytes = self._response.raw.read(size)
            except (urllib3.exceptions.HTTPError, OSError):
                self._response.close()
                time.sleep(min(PAUSE_S * 2**attempt, 5))
                self._response = self._source.connect(self._item, self._offset)
            else:
                self._offset += len(data)
                return data
        msg = f"{self._item.name} broke off {_ATTEMPTS} times at byte {self._offset}"
        raise StorageError(msg)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def _skip(response: requests.Response, count: int) -> None:
    """Read past what was read before: the server ignored the range asked for."""
    while count:
        data = response.raw.read(min(count, 1 << 20))
        if not data:
            return
        count -= len(data)


def _stamp_ms(value: str | None) -> int | None:
    if not value:
        return None
    try:
        return int(email.utils.parsedate_to_datetime(value).timestamp() * 1000)
    except ValueError:
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
