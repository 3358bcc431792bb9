"""The sandbox's HTTP face: CoolaData's paths and the sandbox's own, answered from the writer and the database.

In: requests, on loopback. Out: the answers CoolaData's clients expect, or the fault that was asked for. Refuses
unknown app keys (403) and tokens (401), bodies that hold no events, and what a web page of elsewhere made the user's
browser send (421). No event content and no app key is logged.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
import typing as t
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from target_cooladata.sandbox.answers import error_answer, faulty_answer, json_answer, table_answer
from target_cooladata.sandbox.database import DatabaseError
from target_cooladata.sandbox.faults import STORING_KINDS, BadFaultsError, Faults
from target_cooladata.sandbox.ingest import BodyRules, ReceivedEvent, RefusedBodyError, read_events, reply
from target_cooladata.sandbox.store import Store, ask
from target_cooladata.sandbox.verdict import Status

if t.TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from target_cooladata.sandbox.writer import Writer

MAX_BODY_BYTES = 100_000_000
"""Our own bound: 300 events of 100 KB are 30 MB, and up to three times that percent-encoded."""

log = logging.getLogger(__name__)

_Result = t.TypeVar("_Result")
_OWN_HOSTS = frozenset({"127.0.0.1", "localhost", ""})  # no browser leaves Host out
_STATUSES: frozenset[str] = frozenset(t.get_args(Status))
_EVENTS_PER_PAGE = 1_000
_MAX_DIGITS = 18  # of a number SQLite takes


@dataclass(frozen=True)
class Settings:
    """How the server answers.

    Attributes:
        app_keys: the known app keys; empty for any.
        api_tokens: the known tokens of the query API; empty for any.
        body_rules: which bodies are taken.
        bad_body: what a body gets that holds no events: 200 with `status` false (clients are written for it), or
            400. Which of them CoolaData sends is not known.
        max_body_bytes: a larger body gets 413. CoolaData documents no limit.
    """

    app_keys: frozenset[str] = frozenset()
    api_tokens: frozenset[str] = frozenset()
    body_rules: BodyRules = field(default_factory=BodyRules)
    bad_body: t.Literal["status-false", "400"] = "status-false"
    max_body_bytes: int = MAX_BODY_BYTES


class Sandbox:
    """The handlers, and what they share."""

    def __init__(self, path: Path, writer: Writer, settings: Settings) -> None:
        """Serve the database at `path`, which `writer` writes."""
        self.stopping = asyncio.Event()
        self._path = path
        self._writer = writer
        self._settings = settings
        self._faults = Faults()
        self._in_flight = 0

    def app(self) -> web.Application:
        """Return the application with all its routes."""
        app = web.Application(middlewares=[_guard], client_max_size=self._settings.max_body_bytes)
        app.add_routes(
            [
                web.post("/{version:v[123]}/{app_key}/track", self.track),
                web.get("/egw/2/{app_key}/config", self.config),
                web.get(r"/api/v2/projects/{project:\d+}/cql{slash:/?}", self.cql),
                web.post(r"/api/v2/projects/{project:\d+}/cql{slash:/?}", self.cql),
                web.get("/sandbox/summary", self.summary),
                web.get("/sandbox/events", self.events),
                web.get("/sandbox/faults", self.get_faults),
                web.post("/sandbox/faults", self.set_faults),
                web.delete("/sandbox/faults", self.clear_faults),
            ]
        )
        return app

    async def track(self, request: web.Request) -> web.Response:
        """Take one call: store its events and acknowledge them, or do as the fault says whose turn it is."""
        body = await request.read()
        if not self._knows_app_key(request):
            return error_answer(HTTPStatus.FORBIDDEN, "unknown app key")
        events: list[ReceivedEvent] = []
        refusal: str | None = None
        try:
            events = await asyncio.to_thread(read_events, body, _media_type(request), self._settings.body_rules)
        except RefusedBodyError as error:
            refusal = str(error)
        self._in_flight += 1
        try:
            return await self._answer(request, events, refusal)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request, events: list[ReceivedEvent], refusal: str | None) -> web.Response:
        # No await before a fault without a delay is answered: a call it refuses is never in another's way.
        fault = self._faults.choose(events, self._in_flight)
        if refusal is None and (fault is None or fault.kind in STORING_KINDS):
            await asyncio.wrap_future(self._writer.submit(events, _now_ms()))
        if fault is not None:
            if fault.delay_ms:
                await self._wait(fault.delay_ms)
            if refusal is None or fault.kind != "slow":
                return faulty_answer(request, fault, reply(events))
        return json_answer(reply(events)) if refusal is None else self._refused(refusal)

    async def config(self, request: web.Request) -> web.Response:
        """Answer with the server's clock, which is what CoolaData's trackers ask this for."""
        if not self._knows_app_key(request):
            return error_answer(HTTPStatus.FORBIDDEN, "unknown app key")
        return json_answer(msgspec.json.encode({"configuration": {"calibrationTimestampMillis": _now_ms()}}))

    async def cql(self, request: web.Request) -> web.Response:
        """Answer a query: `tq`, in the URL or in a form; `tqx=out:csv` for CSV; never from a cache."""
        # sqlglot takes as long to import as all the rest, and most runs ask nothing.
        from target_cooladata.sandbox.cql import answer  # noqa: PLC0415 - as said above
        from target_cooladata.sandbox.query import CqlError  # noqa: PLC0415 - as said above

        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "token" or not self._knows_token(token.strip()):
            return error_answer(HTTPStatus.UNAUTHORIZED, "the header `Authorization: Token <token>` is needed")
        form = await request.read() if request.method == "POST" else request.rel_url.raw_query_string.encode()
        try:
            fields = dict(parse_qsl(form.decode(), errors="strict"))
        except ValueError:
            return error_answer(HTTPStatus.BAD_REQUEST, "the query is not UTF-8")
        if "tq" not in fields:
            return error_answer(HTTPStatus.BAD_REQUEST, "the query is missing; it is called tq")
        as_sent = "TIMESTAMP" in request.headers  # [documented]
        try:
            table = await self._ask(lambda s: answer(s, fields["tq"], _now_ms(), times_as_sent=as_sent))
        except CqlError as error:
            return error_answer(HTTPStatus.BAD_REQUEST, str(error))
        return table_answer(table, as_csv="out:csv" in fields.get("tqx", "").split(";"))

    async def summary(self, _: web.Request) -> web.Response:
        """Answer with the counts of everything stored."""
        return json_answer(msgspec.json.encode(await self._ask(Store.summary)))

    async def events(self, request: web.Request) -> web.Response:
        """Answer with one page of the stored events."""
        status = request.query.get("status")
        if status is not None and status not in _STATUSES:
            return error_answer(HTTPStatus.BAD_REQUEST, f"status is one of {', '.join(sorted(_STATUSES))}")
        numbers = [request.query.get("limit", str(_EVENTS_PER_PAGE)), request.query.get("offset", "0")]
        if not all(n.isascii() and n.isdigit() and len(n) <= _MAX_DIGITS for n in numbers):
            return error_answer(HTTPStatus.BAD_REQUEST, "limit and offset are whole numbers")
        limit, offset = map(int, numbers)
        page = await self._ask(lambda store: store.events(t.cast("Status | None", status), limit, offset))
        return json_answer(msgspec.json.encode({"events": page}))

    async def get_faults(self, _: web.Request) -> web.Response:
        """Answer with the faults in force and how often each was applied."""
        return json_answer(msgspec.json.encode(self._faults.states))

    async def set_faults(self, request: web.Request) -> web.Response:
        """Replace the faults in force."""
        try:
            self._faults.replace(await request.read())
        except BadFaultsError as error:
            return error_answer(HTTPStatus.BAD_REQUEST, str(error))
        return await self.get_faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Have no faults any more."""
        self._faults.clear()
        return await self.get_faults(request)

    async def _ask(self, question: Callable[[Store], _Result]) -> _Result:
        return await asyncio.to_thread(ask, self._path, _now_ms(), question)

    async def _wait(self, milliseconds: int) -> None:
        """Wait so long, or until the server is told to stop."""
        try:
            await asyncio.wait_for(self.stopping.wait(), milliseconds / 1000)
        except TimeoutError:
            return

    def _knows_app_key(self, request: web.Request) -> bool:
        keys = self._settings.app_keys
        return not keys or request.match_info["app_key"] in keys

    def _knows_token(self, token: str) -> bool:
        tokens = self._settings.api_tokens
        return token in tokens if tokens else bool(token)

    def _refused(self, why: str) -> web.Response:
        body = msgspec.json.encode({"status": False, "results": {}, "error": why})
        status = HTTPStatus.OK if self._settings.bad_body == "status-false" else HTTPStatus.BAD_REQUEST
        return json_answer(body, status)


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Keep web pages of elsewhere out, and tracebacks, which could quote events, in."""
    # A page may have its own name resolve to 127.0.0.1 (shows in Host), or post a form here (shows in Origin).
    host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
    if host.partition(":")[0].lower() not in _OWN_HOSTS or origin not in {None, f"http://{host}"}:
        return error_answer(HTTPStatus.MISDIRECTED_REQUEST, "the sandbox answers programs on this machine")
    try:
        return await handler(request)
    except (web.HTTPException, ConnectionError):  # the latter: the client is gone, and nobody waits for an answer
        raise
    except (sqlite3.Error, DatabaseError) as error:
        log.error("a request could not be answered: %s", error)  # noqa: TRY400 - the traceback says no more
    except Exception as error:  # noqa: BLE001 - the last resort of a server
        log.error("a request could not be answered: %s", type(error).__name__)  # noqa: TRY400 - may quote events
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "the sandbox failed; its log says why")


def _media_type(request: web.Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
