"""A small FTP server on loopback: passive transfers of files held in memory, which can be cut off in the middle.

In go files by path and one user's password, out comes a port. A transfer that is cut off ends the data connection as a
whole one does, and only the answer that follows tells them apart, as with a server whose disk fails.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading


class FtpServer:
    """One server; `cut_after` has, for each transfer to come, after how many bytes it ends (None: not at all)."""

    def __init__(self) -> None:
        """Start on a free port."""
        self.files: dict[str, bytes] = {}
        self.password = "sesame"  # noqa: S105 - of nobody
        self.cut_after: list[int | None] = []
        outer = self

        class Handler(_Session):
            ftp = outer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"ftp://me:{self.password}@127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


class _Session(socketserver.StreamRequestHandler):
    ftp: FtpServer

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            self._say("220 ready")
            for line in self.rfile:
                command, _, argument = line.decode().strip().partition(" ")
                known = {"USER": self._user, "PASS": self._pass, "PASV": self._passive, "RETR": self._send}
                known.get(command, self._agree)(argument)

    def _agree(self, _: str) -> None:
        self._say("200 fine")

    def _user(self, _: str) -> None:
        self._say("331 a password, please")

    def _pass(self, given: str) -> None:
        self._say("230 come in" if given == self.ftp.password else "530 no")

    def _passive(self, _: str) -> None:
        self._data = socket.create_server(("127.0.0.1", 0))
        port = self._data.getsockname()[1]
        self._say(f"227 Entering Passive Mode (127,0,0,1,{port // 256},{port % 256})")

    def _send(self, path: str) -> None:
        with self._data:
            if path not in self.ftp.files:
                self._say("550 no such file")
                return
            connection, _ = self._data.accept()
            self._say("150 here it comes")
            cut = self.ftp.cut_after.pop(0) if self.ftp.cut_after else None
            with connection:
                connection.sendall(self.ftp.files[path][:cut])
        self._say("226 all of it" if cut is None else "426 the disk failed")

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())
