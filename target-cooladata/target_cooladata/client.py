"""One POST to the tracking API, one outcome.

In: the bytes of a request body. Out: an `Outcome`, always; nothing is raised for what a network or a server does. The
app key is part of the URL, and requests and urllib3 put URLs into their exceptions, so no text of theirs leaves this
module. `STATUSES` is the one table that says what each answer means.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import enum
import os
import ssl
import threading
import time
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter

from target_cooladata.exceptions import SettingsError
from target_cooladata.settings import LOOPBACK

if t.TYPE_CHECKING:
    from target_cooladata.settings import Settings


class Kind(enum.Enum):
    """What is to be done about a call."""

    DELIVERED = "delivered"
    RETRY = "retry"  # nothing wrong with the events: send the same again
    IN_DOUBT = "in_doubt"  # it may have been stored, but no answer said so: send again, and count it
    UNREADABLE = "unreadable"  # a 200 that does not say what CoolaData is known to say
    SPLIT = "split"  # one of the events is refused: find it
    FATAL = "fatal"  # no call can succeed


class Outcome(msgspec.Struct, frozen=True):
    """What one call came to.

    Attributes:
        kind: what is to be done.
        detail: for people: what was answered; holds neither the app key nor event content.
        status: the HTTP status, None if there was no answer.
        retry_after: seconds the server asked to wait.
    """

    kind: Kind
    detail: str
    status: int | None = None
    retry_after: float | None = None


# CoolaData documents only "200 ok for each call"; its own clients know 403 for a wrong key. The others are HTTP's.
STATUSES: dict[int, tuple[Kind, str]] = {
    400: (Kind.SPLIT, "the API refused the call as malformed"),
    401: (Kind.FATAL, "the API refused the app key; check `app_key`"),
    403: (
        Kind.FATAL,
        "the API refused the app key; check `app_key` (CoolaData answers 403 to an unknown key)",
    ),
    404: (Kind.FATAL, "there is no tracking API at this address; check `endpoint_url` and `api_version`"),
    405: (Kind.FATAL, "there is no tracking API at this address; check `endpoint_url` and `api_version`"),
    408: (Kind.RETRY, "the API timed out"),
    410: (
        Kind.FATAL,
        "there is no tracking API at this address any more; check `endpoint_url` and `api_version`",
    ),
    413: (Kind.SPLIT, "the API found the call too large"),
    425: (Kind.RETRY, "the API asked to come later"),
    429: (Kind.RETRY, "the API asked to slow down"),
}
REDIRECT = (
    Kind.FATAL,
    "the address redirects elsewhere, and events are not sent after it; check `endpoint_url`",
)
SERVER_FAILURE = (Kind.RETRY, "the API failed")
OTHER_REFUSAL = (Kind.SPLIT, "the API refused the call")

MAX_ANSWER = 1_000_000  # bytes; every known answer has a fraction of it

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # CoolaData REST page: the only header it lists


class _Line(HTTPAdapter):
    """A connection to one address: what requests makes anew for every call, made once.

    Args:
        url: the address.
        proxies: by scheme, as requests takes them.
        verify: where the certificates of authorities are; True for those of requests.
    """

    def __init__(self, url: str, proxies: dict[str, str], verify: str | bool) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1)
        with requests.Session() as session:
            request = session.prepare_request(requests.Request("POST", url, headers=_FORM))
        pool = self.get_connection_with_tls_context(request, verify, proxies)
        self._pool = t.cast("urllib3.HTTPConnectionPool", pool)
        self.cert_verify(self._pool, url, verify, None)  # type: ignore[no-untyped-call]  # requests has no types for it
        self._url = self.request_url(request, proxies)
        self._headers = {name: value for name, value in request.headers.items() if name != "Content-Length"}

    def post(self, body: bytes, timeout: float) -> urllib3.BaseHTTPResponse:
        """Send a body, once; the answer is not yet read.

        Raises:
            urllib3.exceptions.HTTPError: there is no answer.
        """
        return self._pool.urlopen(
            "POST",
            self._url,
            body=body,
            headers=self._headers,
            timeout=timeout,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
        )


class Client:
    """Posts bodies to one project's tracking endpoint; safe for use by several threads.

    Args:
        url: the endpoint, scheme and host and port, a path if it is behind one.
        app_key: the project's key.
        settings: `api_version`, `request_timeout_seconds`.
    """

    def __init__(self, url: str, app_key: str, settings: Settings) -> None:
        self._url = f"{url.rstrip('/')}/{settings.api_version}/{app_key}/track"
        self._host = urlsplit(url).netloc
        self._timeout = settings.request_timeout_seconds
        # What is on this machine is not asked for through a proxy on another one.
        near = urlsplit(url).hostname in LOOPBACK
        self._proxies = {} if near else requests.utils.get_environ_proxies(self._url)
        self._verify = _authorities()
        self._local = threading.local()

    def post(self, body: bytes) -> Outcome:
        """Send one body and judge the answer."""
        deadline = time.monotonic() + 2 * self._timeout  # one to connect, one to answer
        try:
            response = self._line().post(body, self._timeout)
        except (requests.RequestException, urllib3.exceptions.LocationParseError):
            what = "`endpoint_url`, or the proxy that the environment names for it,"
            return Outcome(Kind.FATAL, f"{what} is no address that can be called")
        except urllib3.exceptions.HTTPError as error:
            return self._no_answer(error)
        try:
            answer = _read(response, deadline)
        except urllib3.exceptions.HTTPError:
            return Outcome(Kind.IN_DOUBT, f"the connection to {self._host} broke within the answer")
        finally:
            response.close()  # leaves a connection open whose answer was read to its end
        if answer is None:
            return Outcome(
                Kind.IN_DOUBT, f"{self._host} did not end its answer in time, or sent more than {MAX_ANSWER:,} bytes"
            )
        return judge(response.status, answer, response.headers.get("Retry-After"))

    def _line(self) -> _Line:
        line: _Line | None = getattr(self._local, "line", None)
        if line is None:
            line = self._local.line = _Line(self._url, self._proxies, self._verify)
        return line

    def _no_answer(self, error: urllib3.exceptions.HTTPError) -> Outcome:
        if isinstance(error, urllib3.exceptions.SSLError):
            return self._no_tls(error)
        if isinstance(error, urllib3.exceptions.ProxyError):
            return Outcome(Kind.RETRY, f"no connection to {self._host} through the proxy that the environment names")
        if isinstance(error, urllib3.exceptions.NewConnectionError):
            return Outcome(Kind.RETRY, f"no connection to {self._host}")
        if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
            return Outcome(Kind.RETRY, f"{self._host} did not accept a connection within {self._timeout} s")
        if isinstance(error, urllib3.exceptions.TimeoutError):
            return Outcome(Kind.IN_DOUBT, f"{self._host} did not answer within {self._timeout} s")
        return Outcome(Kind.IN_DOUBT, f"the connection to {self._host} broke before an answer")

    def _no_tls(self, error: urllib3.exceptions.SSLError) -> Outcome:
        """Nothing has been sent: the handshake comes first."""
        causes = list(_causes(error))
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
            return Outcome(
                Kind.FATAL,
                f"the certificate of {self._host} is not trusted; check `endpoint_url`, or name your authority's file "
                "in REQUESTS_CA_BUNDLE",
            )
        if any(isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER" for cause in causes):
            return Outcome(
                Kind.FATAL, f"{self._host} does not speak https, so it has no certificate; check `endpoint_url`"
            )
        return Outcome(Kind.RETRY, f"no secure connection to {self._host}")


def _authorities() -> str | bool:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(name)
        if path:
            if not Path(path).exists():
                msg = f"{name} in the environment names {path}, which does not exist; expected a file of certificates"
                raise SettingsError(msg)
            if Path(path).is_file():
                _check_certificates(name, path)
            return path
    return True


def _check_certificates(name: str, path: str) -> None:
    """Each handshake would fail for it, and look like one that may go well another time."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError:  # ssl's own are of this kind
        msg = f"{name} in the environment names {path}, which cannot be read as a file of certificates"
        raise SettingsError(msg) from None


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes | None:
    """Read an answer to its end; None if that takes too long, byte by byte, or too much."""
    parts: list[bytes] = []
    size = 0
    while part := response.read1(MAX_ANSWER, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER or time.monotonic() > deadline:
            return None
    return b"".join(parts)


def _causes(error: BaseException | None) -> t.Iterator[BaseException]:
    """An exception and everything inside it, however requests and urllib3 have wrapped it."""
    while error is not None:
        yield error
        inner = getattr(error, "reason", None) or next(
            (part for part in error.args if isinstance(part, BaseException)), None
        )
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def judge(status: int, body: bytes, retry_after: str | None) -> Outcome:
    """Say what an answer means.

    Success is HTTP 200, a JSON object, and `status` in it not false: the vendor's own clients read it so.
    """
    if status == requests.codes.ok:
        return _judge_ok(body)
    # The other successes of HTTP, which no known client takes for one; and 103 and its like, which precede an answer.
    if status < 300:  # noqa: PLR2004 - HTTP's own classes
        return Outcome(Kind.UNREADABLE, f"the API answered {status}, where 200 is the only known success", status)
    kind, text = STATUSES.get(status) or _class_of(status)
    return Outcome(kind, f"{text} (HTTP {status})", status, parse_retry_after(retry_after))


def _judge_ok(body: bytes) -> Outcome:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return Outcome(Kind.UNREADABLE, f"the API answered 200 with {len(body)} bytes that are no JSON object", 200)
    if answer.get("status") is False:
        return Outcome(Kind.SPLIT, "the API answered `status: false`", 200)
    return Outcome(Kind.DELIVERED, "delivered", 200)


def _class_of(status: int) -> tuple[Kind, str]:
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's own classes
        return REDIRECT
    return SERVER_FAILURE if status >= 500 else OTHER_REFUSAL  # noqa: PLR2004 - HTTP's own classes


def parse_retry_after(value: str | None, now: dt.datetime | None = None) -> float | None:
    """Read a Retry-After header, in seconds or as a date (RFC 9110 10.2.3).

    Returns:
        Seconds from now, never negative; None if there is none or it cannot be read.
    """
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a year of eleven digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - (now or dt.datetime.now(dt.UTC))).total_seconds())
