"""A door in front of a real server on loopback: in go its port and faults, out comes an address to ask instead.

Requests are written down and passed on; a fault answers some of them wrongly, and `between` may answer, or change,
what the server behind it does not know.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
import time
import typing as t

_OWN = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive", "date", "server"})


class Request(t.NamedTuple):
    """What a client asks for."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Answer(t.NamedTuple):
    """What it gets."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


Pass = t.Callable[[Request], Answer]
Between = t.Callable[[Request, Pass], Answer]


class Fault(t.NamedTuple):
    """What befalls the next `times` requests whose line holds `on`: `answer` instead, or a break after some bytes."""

    on: str
    answer: Answer | None = None
    breaks: int | None = None
    times: int = 1


class Gate:
    """One gate; `url` is its address, `asked` lists the requests as `METHOD target range`."""

    def __init__(self, port: int, between: Between = lambda request, onward: onward(request)) -> None:
        """Open on a free port, in front of the server that listens on `port`."""
        self.port = port
        self.between = between
        self.asked: list[str] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            gate = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def behave(self, *faults: Fault) -> None:
        """Replace the faults."""
        self._faults = list(faults)

    def fault(self, line: str) -> Fault | None:
        """Take the fault that befalls a request."""
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.on in line and fault.times:
                    self._faults[place] = fault._replace(times=fault.times - 1)
                    return fault
        return None

    def onward(self, request: Request) -> Answer:
        """Ask the server behind."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
            connection.request(request.method, request.target, request.body or None, headers)
            answer = connection.getresponse()
            kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN}
            if request.method == "HEAD":
                kept["Content-Length"] = answer.getheader("Content-Length", "0")
            return Answer(answer.status, kept, answer.read())

    def stop(self) -> None:
        """Close."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: t.Any) -> None:
        """Say nothing: clients that go away are part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    gate: Gate

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        span = self.headers.get("x-ms-range") or self.headers.get("Range", "-")
        line = f"{self.command} {self.path} {span}"
        self.gate.asked.append(line)
        fault = self.gate.fault(line) or Fault("")
        request = Request(self.command, self.path, dict(self.headers.items()), body)
        answer = fault.answer or self.gate.between(request, self.gate.onward)
        self.send_response_only(answer.status)
        headers = {"Date": self.date_time_string(), "Content-Length": str(len(answer.body))} | answer.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: fault.breaks])
        self.wfile.flush()
        if fault.breaks is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server asks for these names

    def log_message(self, *_: t.Any) -> None:
        """Say nothing: `asked` keeps what tests want to know."""


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def await_port(port: int, why: t.Callable[[], str]) -> None:
    """Wait until somebody listens on a port; `why` tells what went wrong if nobody ever does."""
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, why()
            time.sleep(0.05)
        else:
            return
