"""An S3 server on loopback, moto's, behind an nginx that adds 20 ms to every request."""

# ruff: noqa: S603 - the server, by its path
from __future__ import annotations

import http.client
import subprocess
import typing as t

from benchmarks.nginx import wait_for
from benchmarks.processes import BIN, WrongError

if t.TYPE_CHECKING:
    from pathlib import Path

BUCKET = "events"


class Storage:
    """A running server; use it as a context manager."""

    def __init__(self, port: int, log: Path) -> None:
        """Start it on a port."""
        self._port = port
        with log.open("wb") as complaints:
            self._process = subprocess.Popen(
                [BIN / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
            )
        wait_for(port, self._process)

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def put(self, folder: Path) -> None:
        """Put every file of a folder into the bucket, without the delay."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        self._ask(connection, f"/{BUCKET}", b"")
        for file in sorted(folder.iterdir()):
            self._ask(connection, f"/{BUCKET}/{file.name}", file.read_bytes())
        connection.close()

    def settings(self, port: int | None = None) -> dict[str, t.Any]:
        """Give the tap's settings for the bucket, through another port if one is given."""
        return {
            "uris": [f"s3://{BUCKET}/"],
            "aws_access_key_id": "benchmark",
            "aws_secret_access_key": "benchmark",
            "aws_region": "us-east-1",
            "aws_endpoint_url": f"http://127.0.0.1:{port or self._port}",
        }

    def _ask(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> None:
        connection.request("PUT", path, body)
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.HTTPStatus.OK:
            msg = f"the S3 server answered {answer.status} to PUT {path}"
            raise WrongError(msg)
