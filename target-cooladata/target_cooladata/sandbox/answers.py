"""Answers: the JSON of good ones, the damage of faulty ones.

In: what to say, or the fault to commit. Out: a response; for a reset, the connection is gone and the response with it.
Refuses nothing.
"""

from __future__ import annotations

import csv
import io
import socket
import struct
import typing as t
from http import HTTPStatus

import msgspec
from aiohttp import web

if t.TYPE_CHECKING:
    from target_cooladata.sandbox.cql import Table
    from target_cooladata.sandbox.faults import Fault

_NO_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.RESET_CONTENT, HTTPStatus.NOT_MODIFIED})
_STATUS_FALSE = b'{"status":false,"results":{}}'
_HTML = "<html><body>The service is being updated.</body></html>"


def json_answer(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    """Answer with a body that is JSON already."""
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")


def error_answer(status: HTTPStatus, why: str) -> web.Response:
    """Answer with a reason. CoolaData's own error bodies are not known."""
    return json_answer(msgspec.json.encode({"error": why}), status)


def table_answer(table: Table, *, as_csv: bool) -> web.Response:
    """Answer with the result of a query: in the shape of Google's visualization API, or as CSV [documented]."""
    if as_csv:
        text = io.StringIO()
        csv.writer(text).writerows([[column.label for column in table.columns], *table.rows])
        return web.Response(text=text.getvalue(), content_type="text/csv")
    rows = [{"c": [{"v": value} for value in row]} for row in table.rows]
    return json_answer(msgspec.json.encode({"table": {"cols": table.columns, "rows": rows}}))


def faulty_answer(request: web.Request, fault: Fault, true_body: bytes) -> web.Response:
    """Answer as the fault says, where `true_body` is what would have been answered without it."""
    if fault.kind == "status":
        return _status_answer(fault)
    if fault.kind in {"reset_before_store", "reset_after_store"}:
        return _reset(request)
    if fault.kind == "html":
        return web.Response(text=_HTML, content_type="text/html")
    bodies = {"status_false": _STATUS_FALSE, "empty": b"", "truncated": true_body[: len(true_body) // 2]}
    return json_answer(bodies.get(fault.kind, true_body))


def _status_answer(fault: Fault) -> web.Response:
    status = HTTPStatus.SERVICE_UNAVAILABLE if fault.status is None else fault.status
    headers = {"Retry-After": fault.retry_after, "Location": fault.location}
    return web.Response(
        status=status,
        headers={name: str(value) for name, value in headers.items() if value is not None},
        text=None if status in _BODILESS else "a fault that was asked for",
    )


def _reset(request: web.Request) -> web.Response:
    """Abort the connection, so that the client sees a reset; the response returned goes nowhere."""
    transport = request.transport
    if transport is not None:  # else the client was faster
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()
    return web.Response()
