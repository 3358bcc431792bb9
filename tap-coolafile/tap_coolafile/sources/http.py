"""One file behind an http(s) URI: asked for its size and ETag, then read by GET, from a byte offset if need be.

A connection that breaks is taken up again at its byte, a few times; a file that changed meanwhile is a bad file. The
URI may hold user info or a signature: both go to the server alone, never into a message.
"""

from __future__ import annotations

import email.utils
import itertools
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
_PATIENCE_S = 60
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
PAUSE_S = 0.2
_SHORTER = "{} is shorter than the byte {} it was read up to"
_IDENTITY = {"Accept-Encoding": "identity"}


class HttpSource:
    """The one file of an http(s) entry."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._timeout_s = (_CONNECT_S, settings.request_timeout_seconds)
        self._session = requests.Session()
        self._skew_ms = 0
        self._answered = False

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
        size = _number(headers.get("Content-Length"))
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

    def connect(self, item: FileItem, offset: int) -> tuple[requests.Response | None, int]:
        """GET `item` from `offset` on; return the answer, its body not yet read, and the byte at which that begins.

        Of a file that ends there, nothing is asked.
        """
        if 0 <= item.size <= offset:
            return None, offset
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if item.etag.startswith('"'):  # a weak one never matches
            headers["If-Match"] = item.etag
        response = self._ask("GET", headers)
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            response.close()
            if response.headers.get("Content-Range") == f"bytes */{offset}":
                return None, offset
            raise BadFileError(_SHORTER.format(item.name, offset))
        if response.status_code == requests.codes.precondition_failed or (response.ok and not _is_same(response, item)):
            response.close()
            msg = f"{item.name} changed while it was read; the next run reads it as a changed file"
            raise BadFileError(msg)
        self._refuse(response)
        return response, offset if response.status_code == requests.codes.partial_content else 0

    def _ask(self, method: str, headers: dict[str, str]) -> requests.Response:
        """Send one request, again after a pause where the server or the network asks for patience.

        A server that answered before and is away is waited for up to a minute, as it may be starting again.
        """
        until = time.monotonic() + (_PATIENCE_S if self._answered else 0)
        for attempt in itertools.count(1):
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
                is_away = isinstance(error, requests.ConnectionError | requests.Timeout)
                if not is_away or (attempt >= _ATTEMPTS and time.monotonic() >= until):
                    # The library's own words would quote the URI, signature and all.
                    msg = f"{self._pattern.name} cannot be reached ({type(error).__name__}); check uris"
                    raise StorageError(msg) from None
            else:
                self._answered = True
                if response.status_code not in _RETRIED or attempt >= _ATTEMPTS:
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
        self._response, self._at = source.connect(item, offset)

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes.

        Raises:
            StorageError: the connection broke again and again.
            BadFileError: the file changed meanwhile.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            if self._response is None:
                return b""
            try:
                data = self._read(self._response, size)
            except (urllib3.exceptions.HTTPError, OSError):
                self._response.close()
                time.sleep(min(PAUSE_S * 2**attempt, 5))
                self._response, self._at = self._source.connect(self._item, self._offset)
            else:
                self._offset = self._at = self._at + len(data)
                return data
        msg = f"{self._item.name} broke off {_ATTEMPTS} times at byte {self._offset}"
        raise StorageError(msg)

    def close(self) -> None:
        """Close the connection."""
        if self._response is not None:
            self._response.close()

    def _read(self, response: requests.Response, size: int) -> bytes:
        """Read on from the byte reached; what a server that ignores ranges sends before it is passed over."""
        while left := self._offset - self._at:
            skipped = len(response.raw.read(min(left, 1 << 20)))
            if not skipped:
                raise BadFileError(_SHORTER.format(self._item.name, self._offset))
            self._at += skipped
        data: bytes = response.raw.read(size)
        if not data and self._offset < self._item.size:
            # Where an answer does not say how long it is, a break looks like an end.
            msg = "the body ends too early"
            raise ConnectionError(msg)
        return data


def _is_same(response: requests.Response, item: FileItem) -> bool:
    """Tell whether an answer is about the file as it was described: by ETag, or else by time of change and size."""
    headers = response.headers
    described = f"{item.size}-"
    if not item.etag.startswith(described):
        return headers.get("ETag", item.etag) == item.etag
    changed = item.etag.removeprefix(described)
    if changed and headers.get("Last-Modified", changed) != changed:
        return False
    is_part = response.status_code == requests.codes.partial_content
    size = _number(headers.get("Content-Range", "").rpartition("/")[2] if is_part else headers.get("Content-Length"))
    return item.size <= 0 or size in {-1, item.size}


def _number(header: str | None) -> int:
    return int(header) if header and header.isdecimal() else -1


def _stamp_ms(value: str | None) -> int | None:
    if not value:
        return None
    try:
        return int(email.utils.parsedate_to_datetime(value).timestamp() * 1000)
    except ValueError:
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
