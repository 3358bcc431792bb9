"""A relay of TCP on loopback: in go the port of a server, out comes another, whose connections can be made to drop."""

from __future__ import annotations

import contextlib
import socket
import threading
import typing as t


class Relay:
    """Stands between client and server; `cut_after` holds, for each connection to come, after how many bytes it drops.

    Bytes are counted from the server to the client. Connections beyond the list never drop. `connections` counts them.
    """

    def __init__(self, port: int) -> None:
        """Listen on a free port in front of `port`."""
        self.cut_after: list[int] = []
        self.connections = 0
        self._target = port
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._start(self._accept)

    def drop(self) -> None:
        """Drop every connection there is, at once."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Take no more connections, drop those there are, and wait for the threads to end."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join()
        self.drop()
        for thread in self._threads:
            thread.join()
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            limit = self.cut_after.pop(0) if self.cut_after else None
            self._start(self._carry, client, server, None)
            self._start(self._carry, server, client, limit)

    def _carry(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536 if limit is None else min(65_536, limit)):
                sink.sendall(data)
                if limit is not None and (limit := limit - len(data)) <= 0:
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, work: t.Callable[..., None], *arguments: t.Any) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()
