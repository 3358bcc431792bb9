"""Fixtures of the tap's tests: in, a temporary folder; out, files in it, real servers, and runs of the real tap."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import subprocess
import sys
import threading
import typing as t
import urllib.parse
from pathlib import Path

import msgspec
import pytest

from tap_coolafile.settings import CONFIG_SCHEMA, Settings, load, normalise
from tap_coolafile.tap import TapCoolaFile
from tests.object_server import ObjectServer
from tests.s3_server import S3Server

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_coolafile.stream import EventStream

TAP = str(Path(sys.executable).with_name("tap-coolafile"))
_HANGS_SECONDS = 250  # a run that takes longer: less than what pytest allows a test, far more than any takes

# ruff: noqa: E501 - the sample rows stand as they are printed
_SEED = """\
{"user_id": "PU4UplQaZtaYWgRdLcntauwg","age":21,"gender":"f", "session_id": "4353p1ujlco2on1lbzmmwrnu", "event_time_ts":"2012-10-15 04:06:30", "event_name":"login","ip":"","country":"USA","city":"CHICAGO","browser":"moz","membership":"gold","referals":"2","social":"fblike"}
{"user_id": "PU4UplQaZtaYWgRdLcntauwg", "age":21,"gender":"f", "session_id": "4353p1ujlco2on1lbzmmwrnu", "event_timestamp":"2012-10-15 04:06:35", "event_name":"refresh","ip":"","country":"USA","city":"CHICAGO","browser":"moz","membership":"gold","referals":"2","social":"fblike"}
{"user_id": "PU4UplQaZtaYWgRdLcntauwg", "age":21,"gender":"f", "session_id": "4353p1ujlco2on1lbzmmwrnu", "event_time_ts":"2012-10-15 04:06:40", "event_name":"additem","ip":"","country":"USA","city":"CHICAGO","browser":"moz","qty":"1","membership":"gold","referals":"2","social":"fblike"}
{"user_id": "PU4UplQaZtaYWgRdLcntauwg", "age":21,"gender":"f", "session_id": "4353p1ujlco2on1lbzmmwrnu", "event_time_ts":"2012-10-15 04:06:45", "event_name":"payment","ip":"","country":"USA","city":"CHICAGO","browser":"moz","currency":"usd","cur_amount":"100","qty":"1","level":"3","rank":"novice","membership":"gold","referals":"2","social":"fblike"}
"""
SEED_ROWS = tuple(_SEED.splitlines())
"""The sample rows of CoolaData's S3 page."""


def event(number: int = 0, **custom: t.Any) -> str:
    """Return a valid row, told from others by `number`."""
    return json.dumps(
        {"event_name": "login", "user_id": f"u{number}", "event_time_ts": 1425920218354 + number, **custom},
        separators=(",", ":"),
        ensure_ascii=False,
    )


def checked(uri: str, **given: t.Any) -> Settings:
    """Return the settings a run works with, all but those `given` at their defaults."""
    declared = CONFIG_SCHEMA["properties"]
    defaults = {name: schema["default"] for name, schema in declared.items() if "default" in schema}
    return load(normalise(defaults | {"uris": [uri]} | given))


class Run:
    """What a run of the tap said: `messages` in order, `log` of its process, `code` it exited with."""

    def __init__(self, output: bytes, log: str = "", code: int = 0) -> None:
        """Read the messages of `output`."""
        self.lines = output.splitlines()
        self.messages: list[dict[str, t.Any]] = [json.loads(line) for line in self.lines]
        self.log = log
        self.code = code
        self.text = ""

    def of(self, kind: str) -> list[dict[str, t.Any]]:
        """Return the messages of one type."""
        return [message for message in self.messages if message["type"] == kind]

    @property
    def records(self) -> list[dict[str, t.Any]]:
        """The records."""
        return [message["record"] for message in self.of("RECORD")]

    @property
    def users(self) -> list[str]:
        """The user of each record: rows made by `event` are told apart by it."""
        return [record["user_id"] for record in self.records]

    @property
    def state(self) -> dict[str, t.Any]:
        """The last state."""
        value: dict[str, t.Any] = self.of("STATE")[-1]["value"]
        return value

    @property
    def properties(self) -> dict[str, t.Any]:
        """The properties of the last SCHEMA."""
        found: dict[str, t.Any] = self.of("SCHEMA")[-1]["schema"]["properties"]
        return found

    @property
    def report(self) -> dict[str, t.Any]:
        """The report in the log."""
        (line,) = [line for line in self.log.splitlines() if "Report: " in line]
        found: dict[str, t.Any] = json.loads(line.partition("Report: ")[2])
        return found

    @property
    def complaints(self) -> list[str]:
        """The log's lines at level ERROR."""
        return [line for line in self.log.splitlines() if "| ERROR" in line]


class Workplace:
    """A folder with data, and the tap run in it."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is empty."""
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.config: dict[str, t.Any] = {"uris": str(self.data) + "/", "rejects_path": str(folder / "rejects")}

    def write(self, name: str, *rows: str | bytes, end: str = "\n") -> Path:
        """Write a file of `rows` and return its path."""
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = [row.encode() if isinstance(row, str) else row for row in rows]
        path.write_bytes(b"\n".join(data) + end.encode())
        return path

    def command(self, *arguments: str, state: t.Any = None, catalog: t.Any = None, **config: t.Any) -> list[str]:
        """Return a command line, its configuration written to files."""
        command = [TAP, "--config", self._file("config.json", self.config | config), *arguments]
        if state is not None:
            command += ["--state", self._file("state.json", state)]
        if catalog is not None:
            command += ["--catalog", self._file("catalog.json", catalog)]
        return command

    def run(self, *arguments: str, env: dict[str, str] | None = None, **given: t.Any) -> Run:
        """Run the tap as a process, to its end."""
        command = self.command(*arguments, **given)
        done = subprocess.run(
            command, capture_output=True, check=False, cwd=self.folder, env=env, timeout=_HANGS_SECONDS
        )
        plain = "--about" in arguments or "--discover" in arguments or "--version" in arguments
        run = Run(b"" if plain else done.stdout, done.stderr.decode(), done.returncode)
        run.text = done.stdout.decode()
        return run

    def without(self, module: str, **config: t.Any) -> str:
        """Run the tap, to its end with code 1, where a module is not installed; return what it logged."""
        program = (
            f"import sys; sys.modules[{module!r}] = None; from tap_coolafile.tap import TapCoolaFile as tap; tap.cli()"
        )
        command = [sys.executable, "-c", program, *self.command(**config)[1:]]
        done = subprocess.run(command, capture_output=True, check=False, cwd=self.folder, timeout=_HANGS_SECONDS)
        assert done.returncode == 1
        return done.stderr.decode()

    def peak_kib(self, **config: t.Any) -> int:
        """Run the tap, to its end with code 0, and return the most memory it took, in KiB."""
        # A process of its own, as a child's account begins with the memory of whoever starts it.
        watch = "import resource,subprocess,sys; subprocess.run(sys.argv[1:],check=True,stdout=subprocess.DEVNULL);"
        watch += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        command = [sys.executable, "-c", watch, *self.command(**config)]
        return int(subprocess.run(command, capture_output=True, check=True, cwd=self.folder).stdout)

    def sync(self, state: t.Any = None, catalog: t.Any = None, **config: t.Any) -> Run:
        """Run the tap within this process, which is quicker than starting one; a failure is raised."""
        tap = TapCoolaFile(config=self.config | config, state=state, catalog=catalog, setup_mapper=False)
        stream = t.cast("EventStream", tap.streams["events"])
        stream.await_rows()
        tap.setup_mapper()
        raw = io.BytesIO()
        output = io.TextIOWrapper(raw)
        with contextlib.redirect_stdout(output):
            try:
                tap.sync_all()
            finally:
                tap.writer.flush()
                self.last = Run(raw.getvalue())
                if stream.report is not None:
                    self.last.log = "Report: " + stream.report.to_json()
        return self.last

    def rejects(self) -> list[dict[str, t.Any]]:
        """Return all rejects kept so far."""
        files = sorted((self.folder / "rejects").rglob("*.json"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def _file(self, name: str, content: t.Any) -> str:
        path = self.folder / name
        path.write_bytes(msgspec.json.encode(content))
        return str(path)


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A workplace whose `uris` is the folder `data/`."""
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server that checks signatures, shared: each test has buckets of its own."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectServer]:
    """A quick S3 server, which can be told to fail, and killed."""
    server = ObjectServer(tmp_path / "objects")
    yield server
    server.kill()


class WebServer:
    """A real web server; `files` maps paths to contents, `asked` lists its requests as `METHOD path range`."""

    def __init__(self) -> None:
        """Start on a free port of loopback.

        An ETag that is empty is not sent, nor is a time of change; without `lengths` a body ends with its connection.
        """
        self.files: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.passwords: dict[str, str] = {}
        self.drop_after: list[int] = []
        self.ranges = True
        self.described = True
        self.changed: str | None = "Mon, 15 Oct 2012 04:06:30 GMT"
        self.lengths = True
        self.sent = 0
        self.head_status = 200
        self._port = 0
        self.start()

    def start(self) -> None:
        """Serve, on the port it had before if there was one."""
        outer = self

        class Handler(_FileHandler):
            web = outer

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self._port = self._server.server_port
        self.url = f"http://127.0.0.1:{self._port}"

    def etag(self, path: str) -> str:
        """Return the ETag of a file: the one it was given, or one of its content."""
        return self.etags.get(path, f'"{hash(self.files[path])}"')

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _FileHandler(http.server.BaseHTTPRequestHandler):
    web: WebServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        web = self.web
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        web.asked.append(f"{self.command} {self.path} {self.headers.get('Range', '-')}")
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1]) if web.ranges else 0
        if (refusal := self._refusal(path, begin, body=body)) is not None:
            self.send_response(refusal)
            self.send_header("Content-Length", "0")
            if refusal == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.send_header("Content-Range", f"bytes */{len(web.files[path])}")
            self.end_headers()
            return
        data = web.files[path]
        self.send_response(206 if begin else 200)
        for name, value in self._described(path, begin, body=body).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            left = web.drop_after.pop(0) if web.drop_after else len(data)
            with contextlib.suppress(ConnectionError):
                for at in range(begin, begin + left, 1 << 16):
                    self.wfile.write(data[at : min(at + (1 << 16), begin + left)])
                    web.sent += 1 << 16

    def _refusal(self, path: str, begin: int, *, body: bool) -> int | None:
        web = self.web
        if not body and web.head_status != http.HTTPStatus.OK:
            return web.head_status
        if path in web.passwords and self.headers.get("Authorization") != web.passwords[path]:
            return 401
        if path not in web.files:
            return 404
        if self.headers.get("If-Match", web.etag(path)) != web.etag(path):
            web.refused.append(f"If-Match {self.headers['If-Match']}")
            return 412
        return 416 if begin and begin >= len(web.files[path]) else None

    def _described(self, path: str, begin: int, *, body: bool) -> dict[str, str]:
        web, size = self.web, len(self.web.files[path])
        headers = {"Content-Range": f"bytes {begin}-{size - 1}/{size}"} if begin else {}
        if web.described:
            headers |= {"Content-Length": str(size - begin)} if web.lengths or not body else {}
            headers |= {"ETag": web.etag(path)} if web.etag(path) else {}
            headers |= {"Last-Modified": web.changed} if web.changed else {}
        return headers

    def log_message(self, *_: t.Any) -> None:
        """Say nothing: `asked` keeps what tests want to know."""


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A real web server without files."""
    server = WebServer()
    yield server
    server.stop()
