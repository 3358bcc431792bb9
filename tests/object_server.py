"""A small, quick S3 server whose objects are files: for many objects, for delays, faults, and for being killed.

In go a folder (`FOLDER/bucket/key`) and faults, out come answers of S3's protocol: ListObjectsV2, HeadObject and
GetObject with ranges and preconditions. It checks no signature; `s3_server.py` does. What it holds outlives it, so one
that is killed can be started again on the same port.

As a program, `python -m tests.object_server FOLDER PORT`, it prints its port once it listens, and ends with its parent.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import typing as t
import urllib.parse
import urllib.request
from pathlib import Path
from xml.sax.saxutils import escape

if t.TYPE_CHECKING:
    from collections.abc import Iterable

_CONTROL = "/__control"
_PAGE = 1000
_CHUNK = 1 << 16


class ObjectServer:
    """One server; `url` is its address, `folder` holds its buckets."""

    def __init__(self, folder: Path) -> None:
        """Start serving `folder`, and wait until it listens."""
        self.folder = folder
        self._port = 0
        self.start()

    def start(self) -> None:
        """Start, on the port it had before if there was one."""
        command = [sys.executable, "-m", "tests.object_server", str(self.folder), str(self._port)]
        root = Path(__file__).parent.parent
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)
        assert self.process.stdout is not None
        self._port = int(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self._port}"

    def kill(self) -> None:
        """End it with -9."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def put(self, bucket: str, objects: t.Mapping[str, bytes]) -> str:
        """Write objects, by key, and return the bucket."""
        for key, body in objects.items():
            path = self.folder / bucket / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        return bucket

    def behave(self, *faults: dict[str, t.Any], delay_ms: int = 0) -> None:
        """Answer each request after `delay_ms`, and some of them wrongly.

        A fault applies to the requests whose line holds `on`, the first `times` of them. It answers `status` with the
        error `code`; or `breaks` after so many bytes; or `hangs` after so many; or calls the object's class `archived`;
        or lists in `reverse`.
        """
        self._ask("PUT", {"delay_ms": delay_ms, "faults": list(faults)})

    def requests(self) -> list[str]:
        """Return the requests since the start, as `GET /bucket/key?query range payer`."""
        return t.cast("list[str]", self._ask("GET"))

    def settings(self) -> dict[str, t.Any]:
        """Return the tap's settings for it."""
        return {"aws_endpoint_url": self.url, "aws_access_key_id": "any", "aws_secret_access_key": "sesame"}

    def _ask(self, method: str, body: t.Any = None) -> t.Any:
        request = urllib.request.Request(self.url + _CONTROL, json.dumps(body).encode(), method=method)  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return json.loads(answer.read())


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    folder: Path
    control: t.ClassVar[dict[str, t.Any]] = {"delay_ms": 0, "faults": []}
    asked: t.ClassVar[list[str]] = []
    lock = threading.Lock()
    etags: t.ClassVar[dict[tuple[str, int, int], str]] = {}

    def do_PUT(self) -> None:
        type(self).control = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(200, b"{}")

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        if self.path == _CONTROL:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._send(200, json.dumps(self.asked).encode())
            return
        self._serve()

    def _serve(self) -> None:
        line = f"{self.command} {urllib.parse.unquote(self.path)} {self.headers.get('Range', '-')}"
        self.asked.append(f"{line} {self.headers.get('x-amz-request-payer', '-')}")
        time.sleep(self.control["delay_ms"] / 1000)
        self.fault = self._fault(line)
        if "status" in self.fault:
            code = self.fault["code"]
            self._send(self.fault["status"], f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode())
            return
        parts = urllib.parse.urlsplit(self.path)
        bucket, _, key = urllib.parse.unquote(parts.path)[1:].partition("/")
        if key:
            self._object(self.folder / bucket / key)
        else:
            self._listing(bucket, dict(urllib.parse.parse_qsl(parts.query)))

    def _fault(self, line: str) -> dict[str, t.Any]:
        with self.lock:
            for fault in self.control["faults"]:
                if fault["on"] in line and fault.get("times", 1):
                    fault["times"] = fault.get("times", 1) - 1
                    return t.cast("dict[str, t.Any]", fault)
        return {}

    def _listing(self, bucket: str, query: dict[str, str]) -> None:
        root = self.folder / bucket
        after = query.get("continuation-token") or query.get("start-after", "")
        found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
        keys = [key for key in found if key.startswith(query.get("prefix", "")) and key > after]
        cut = len(keys) > _PAGE
        keys = keys[:_PAGE]
        said = f"<IsTruncated>{str(cut).lower()}</IsTruncated><EncodingType>url</EncodingType>"
        if cut:
            said += f"<NextContinuationToken>{escape(keys[-1])}</NextContinuationToken>"
        kind = "GLACIER" if self.fault.get("archived") else "STANDARD"
        for key in reversed(keys) if "reverse" in self.fault else keys:
            stat = (root / key).stat()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(stat.st_mtime))
            said += (
                f"<Contents><Key>{urllib.parse.quote(key)}</Key><LastModified>{stamp}</LastModified>"
                f"<ETag>{self._etag(root / key)}</ETag><Size>{stat.st_size}</Size><StorageClass>{kind}</StorageClass>"
                f"{self.fault.get('extra', '')}</Contents>"
            )
        self._send(200, f"<?xml version='1.0'?><ListBucketResult>{said}</ListBucketResult>".encode())

    def _object(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError:
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        etag = self._etag(path)
        if self.headers.get("If-Match", etag) != etag:
            self._send(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        first, _, last = self.headers.get("Range", "bytes=0-")[6:].partition("-")
        begin, end = int(first), min(int(last or len(data)) + 1, len(data))
        stamp = email.utils.formatdate(path.stat().st_mtime, usegmt=True)
        extra = {"ETag": etag, "Last-Modified": stamp}
        if "Range" in self.headers:
            extra["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        self._send(206 if "Range" in self.headers else 200, data[begin:end], **extra)

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = getattr(self, "fault", {})
        part = body[: fault.get("breaks", fault.get("hangs", len(body)))]
        for chunk in _chunks(part):
            self.wfile.write(chunk)
        self.wfile.flush()
        if "hangs" in fault:
            time.sleep(600)
        if len(part) < len(body):
            self.close_connection = True

    def _etag(self, path: Path) -> str:
        stat = path.stat()
        known = (str(path), stat.st_size, stat.st_mtime_ns)
        if known not in self.etags:
            self.etags[known] = f'"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"'
        return self.etags[known]

    def log_message(self, *_: t.Any) -> None:
        """Say nothing: `asked` keeps what tests want to know."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: t.Any) -> None:
        """Say nothing: clients that go away are part of the tests."""


def _chunks(data: bytes) -> Iterable[bytes]:
    return (data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK))


def _main(folder: str, port: str) -> None:
    """Serve until standard input ends, which it does when the parent does."""

    class Handler(_Handler):
        pass

    Handler.folder = Path(folder)
    server = _Server(("127.0.0.1", int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
