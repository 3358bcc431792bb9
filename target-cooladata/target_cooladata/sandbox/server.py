"""The sandbox's HTTP face: CoolaData's paths and the sandbox's own, answered from the writer and the database.

In: requests, on loopback. Out: the answers CoolaData's clients expect, or the fault that was asked for. Refuses unknown app
keys (403), bodies that hold no events, and requests a web page elsewhere made the user's browser send (421).
No event content and no app key is logged.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
import struct
import time
import typing as t
from dataclasses import dataclass, field
from http import HTTPStatus

import msgspec
from aiohttp import web

from target_cooladata.sandbox.faults import STORING_KINDS, BadFaultsError, Fault, Faults
from target_cooladata.sandbox.ingest import BodyRules, ReceivedEvent, RefusedBodyError, read_events, reply
from target_cooladata.sandbox.store import Store
from target_cooladata.sandbox.validity import Rules, Status

if t.TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from target_cooladata.sandbox.writer import Writer

log = logging.getLogger(__name__)

_Result = t.TypeVar("_Result")
_STATUSES: frozenset[str] = frozenset(t.get_args(Status))
_OWN_HOSTS = frozenset({"127.0.0.1", "localhost"})
_NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST
_DEFAULT_PAGE = 1_000
_MAX_BODY_BYTES = 100_000_000


@dataclass(frozen=True)
class Settings:
    """How the server behaves.

    Attributes:
        app_keys: the known app keys; empty for any.
        api_tokens: the known tokens of the query API; empty for any.
        body_rules: which bodies are taken.
        rules: the project's settings.
        bad_body: what a body without events gets: 200 with `status` false (clients are written for it), or 400. Which of them
            CoolaData sends is not known.
        max_body_bytes: larger bodies get 413. CoolaData documents no limit; 300 events of 100 KB take 30 MB, up to three times
            that percent-encoded.
    """

    app_keys: frozenset[str] = frozenset()
    api_tokens: frozenset[str] = frozenset()
    body_rules: BodyRules = field(default_factory=BodyRules)
    rules: Rules = field(default_factory=Rules)
    bad_body: t.Literal["status-false", "400"] = "status-false"
    max_body_bytes: int = _MAX_BODY_BYTES


class Sandbox:
    """The handlers and what they share."""

    def __init__(self, path: Path, writer: Writer, settings: Settings) -> None:
        """Serve the database at `path` through `writer`."""
        self._path = path
        self._writer = writer
        self._settings = settings
        self._faults = Faults()
        self._in_flight = 0
        self.stopping = asyncio.Event()

    def app(self) -> web.Application:
        """Return the application with all its routes."""
        app = web.Application(middlewares=[_guard], client_max_size=self._settings.max_body_bytes)
        app.add_routes(
            [
                web.post("/{version:v[123]}/{app_key}/track", self.track),
                web.get("/egw/2/{app_key}/config", self.config),
                web.get("/sandbox/summary", self.summary),
                web.get("/sandbox/events", self.events),
                web.get("/sandbox/faults", self.get_faults),
                web.post("/sandbox/faults", self.set_faults),
                web.delete("/sandbox/faults", self.clear_faults),
            ]
        )
        return app

    async def track(self, request: web.Request) -> web.StreamResponse:
        """Take one call: store its events, acknowledge them; or do as the fault says whose turn it is."""
        body = await request.read()
        if not self._knows(request):
            return web.Response(status=HTTPStatus.FORBIDDEN, text="Forbidden")
        self._in_flight += 1
        try:
            return await self._track(request, body)
        finally:
            self._in_flight -= 1

    async def _track(self, request: web.Request, body: bytes) -> web.StreamResponse:
        events: list[ReceivedEvent] = []
        refusal: str | None = None
        try:
            events = await asyncio.to_thread(
                read_events, body, _media_type(request), self._settings.body_rules
            )
        except RefusedBodyError as error:
            refusal = str(error)
        fault = self._faults.choose(events, self._in_flight)
        if refusal is None and (fault is None or fault.kind in STORING_KINDS):
            await asyncio.wrap_future(self._writer.submit(events, _now_ms()))
        if fault is not None and fault.delay_ms:
            await self._wait(fault.delay_ms / 1000)
        if fault is not None and fault.kind != "slow":
            return _faulty_answer(request, fault, reply(events))
        return _json(reply(events)) if refusal is None else self._refused(refusal)

    async def config(self, request: web.Request) -> web.Response:
        """Answer with the server's clock, as CoolaData's trackers ask for it."""
        if not self._knows(request):
            return web.Response(status=HTTPStatus.FORBIDDEN, text="Forbidden")
        return _json(msgspec.json.encode({"configuration": {"calibrationTimestampMillis": _now_ms()}}))

    async def summary(self, _: web.Request) -> web.Response:
        """Answer with the counts of everything stored."""
        return _json(msgspec.json.encode(await self._read(Store.summary)))

    async def events(self, request: web.Request) -> web.Response:
        """Answer with one page of the stored events."""
        status = request.query.get("status")
        if status is not None and status not in _STATUSES:
            return _bad_request(f"status is one of {', '.join(sorted(_STATUSES))}")
        numbers = [request.query.get("limit", str(_DEFAULT_PAGE)), request.query.get("offset", "0")]
        if not all(n.isascii() and n.isdigit() and len(n) < len(str(2**63)) for n in numbers):
            return _bad_request("limit and offset are whole numbers")
        limit, offset = map(int, numbers)
        page = await self._read(lambda store: store.events(t.cast("Status | None", status), limit, offset))
        return _json(msgspec.json.encode({"events": page}))

    async def get_faults(self, _: web.Request) -> web.Response:
        """Answer with the faults in force and how often each was applied."""
        return _json(msgspec.json.encode(self._faults.states))

    async def set_faults(self, request: web.Request) -> web.Response:
        """Replace the faults in force."""
        try:
            self._faults.replace(await request.read())
        except BadFaultsError as error:
            return _bad_request(str(error))
        return await self.get_faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Have no faults any more."""
        self._faults.clear()
        return await self.get_faults(request)

    async def _read(self, question: Callable[[Store], _Result]) -> _Result:
        def ask() -> _Result:
            store = Store.open_existing(self._path)
            try:
                store.settle(_now_ms())
                return question(store)
            finally:
                store.close()

        return await asyncio.to_thread(ask)

    async def _wait(self, seconds: float) -> None:
        """Wait so long, or until the server is told to stop."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    def _knows(self, request: web.Request) -> bool:
        keys = self._settings.app_keys
        return not keys or request.match_info["app_key"] in keys

    def _refused(self, why: str) -> web.Response:
        body = msgspec.json.encode({"status": False, "results": {}, "error": why})
        status = HTTPStatus.OK if self._settings.bad_body == "status-false" else HTTPStatus.BAD_REQUEST
        return _json(body, status)


def _faulty_answer(request: web.Request, fault: Fault, true_body: bytes) -> web.Response:
    match fault.kind:
        case "status":
            return _status_answer(fault)
        case "status_false":
            return _json(b'{"status":false,"results":{}}')
        case "html":
            return web.Response(
                text="<html><body>Service is being updated</body></html>", content_type="text/html"
            )
        case "empty":
            return web.Response(content_type="application/json")
        case "truncated":
            return _json(true_body[: len(true_body) // 2])
        case _:
            return _reset(request)


def _status_answer(fault: Fault) -> web.Response:
    status = t.cast("int", fault.status)
    headers = {"Retry-After": fault.retry_after, "Location": fault.location}
    has_body = status not in {HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED}
    return web.Response(
        status=status,
        headers={name: str(value) for name, value in headers.items() if value is not None},
        text="a fault that was asked for" if has_body else None,
    )


def _reset(request: web.Request) -> web.Response:
    """Abort the connection, so that the client sees a reset; the response returned goes nowhere."""
    transport = request.transport
    if transport is not None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
    return web.Response()


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Keep web pages out (DNS rebinding, cross-site forms) and tracebacks, which could quote events, in."""
    origin = request.headers.get("Origin")
    if request.url.host not in _OWN_HOSTS or origin not in {None, f"http://{request.host}"}:
        return web.Response(
            status=HTTPStatus.MISDIRECTED_REQUEST, text="the sandbox answers only local programs"
        )
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Exception as error:  # noqa: BLE001 - the last resort of a server
        log.error("a request could not be answered: %s", _in_words(error))  # noqa: TRY400 - no traceback
        return web.Response(
            status=HTTPStatus.INTERNAL_SERVER_ERROR, text="the sandbox failed; its log says why"
        )


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, sqlite3.Error) else type(error).__name__


def _media_type(request: web.Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _json(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def _bad_request(why: str) -> web.Response:
    return _json(msgspec.json.encode({"error": why}), HTTPStatus.BAD_REQUEST)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
