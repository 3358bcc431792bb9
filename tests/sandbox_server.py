"""The real `cooladata-sandbox serve` as a child process, for tests that need something to send to.

In: a folder for its database and further options. Out: its URL once it answers, what it stored, and the faults it is
told to commit. Refuses to go on (`AssertionError`, with what the child wrote) if the child does not start or does not
answer as documented.
"""

from __future__ import annotations

import json
import selectors
import shutil
import signal
import subprocess
import sys
import typing as t
from pathlib import Path
from urllib.parse import quote

import requests

if t.TYPE_CHECKING:
    from types import TracebackType

COMMAND = shutil.which("cooladata-sandbox", path=str(Path(sys.executable).parent)) or "cooladata-sandbox"

_READY = "listening on "
_START_SECONDS = 30
_STOP_SECONDS = 15
_PAGE = 10_000


class SandboxServer:
    """A running sandbox; stop it, or use it as a context manager.

    Attributes:
        db: its database file.
        url: `http://127.0.0.1:<port>`.
        log: the file that holds everything the child wrote to standard error.
    """

    def __init__(self, db: Path, *options: str, port: int = 0) -> None:
        """Start `cooladata-sandbox serve` on `db` with these options and wait until it answers."""
        self.db = db
        self.log = db.with_name(f"{db.name}.log")
        db.parent.mkdir(parents=True, exist_ok=True)
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy for loopback
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "serve", "--db", str(db), "--port", str(port), *options],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        try:
            self.url = self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> t.Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    def track(self, events: t.Any, app_key: str = "key", version: str = "v3") -> requests.Response:
        """Send one call, encoded as the REST page says."""
        body = quote(json.dumps({"events": events}), safe="").encode()
        return self.post(f"/{version}/{app_key}/track", body, content_type="application/x-www-form-urlencoded")

    def post(self, path: str, body: bytes, *, content_type: str | None = None) -> requests.Response:
        """Send any body to any path."""
        headers = {"Content-Type": content_type} if content_type else {}
        return self._http.post(self.url + path, data=body, headers=headers, timeout=60, allow_redirects=False)

    def get(self, path: str, **headers: str) -> requests.Response:
        """Ask for any path."""
        return self._http.get(self.url + path, headers=headers, timeout=60)

    def judge(self, *events: t.Any) -> list[tuple[str, str | None]]:
        """Send events in one call and return what became of each: its status and the comment on it."""
        before = self.summary()["events"]
        assert self.track(list(events)).json()["status"] is True
        return [(entry["status"], entry["comment"]) for entry in self.stored(offset=before)]

    def query(self, text: str, **fields: str) -> dict[str, t.Any]:
        """Ask the query API and return its table."""
        response = self.ask(text, **fields)
        assert response.status_code == requests.codes.ok, response.text
        return t.cast("dict[str, t.Any]", response.json()["table"])

    def ask(self, text: str, *, token: str | None = "token", **fields: str) -> requests.Response:  # noqa: S107 - no secret
        """Ask the query API and return its answer, whatever it is."""
        headers = {"Authorization": f"Token {token}"} if token else {}
        form = {"tq": text, **fields}
        return self._http.post(f"{self.url}/api/v2/projects/123456/cql", data=form, headers=headers, timeout=60)

    def summary(self) -> dict[str, t.Any]:
        """Return the counts of everything stored."""
        return t.cast("dict[str, t.Any]", self._json("GET", "/sandbox/summary"))

    def stored(self, status: str | None = None, offset: int = 0) -> list[dict[str, t.Any]]:
        """Return stored events with their `status`, `comment` and `received_at`, in the order received."""
        entries: list[dict[str, t.Any]] = []
        while True:
            params = {"limit": str(_PAGE), "offset": str(offset + len(entries))}
            page = self._json("GET", "/sandbox/events", params=params | ({"status": status} if status else {}))
            entries += page["events"]
            if len(page["events"]) < _PAGE:
                return entries

    def events(self, status: str | None = None) -> list[t.Any]:
        """Return every stored event as it was sent, in the order received."""
        return [entry["event"] for entry in self.stored(status)]

    def set_faults(self, *faults: dict[str, t.Any]) -> None:
        """Replace the faults; see `target_cooladata.sandbox.faults.Fault` for their fields."""
        self._json("POST", "/sandbox/faults", json=list(faults))

    def faults(self) -> list[dict[str, t.Any]]:
        """Return the faults in force, each with how many calls it `counted` and how many it was `applied` to."""
        return t.cast("list[dict[str, t.Any]]", self._json("GET", "/sandbox/faults"))

    def clear_faults(self) -> None:
        """Have no faults any more."""
        self._json("DELETE", "/sandbox/faults")

    def stop(self) -> int:
        """End it as Ctrl-C does, and return its exit code."""
        return self._end(signal.SIGINT)

    def kill(self) -> int:
        """End it as `kill -9` does, and return its exit code."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        self._http.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            t.cast("t.IO[str]", self.process.stdout).close()

    def _wait_until_ready(self) -> str:
        stdout = t.cast("t.IO[str]", self.process.stdout)
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            line = stdout.readline() if selector.select(_START_SECONDS) else ""
        assert line.startswith(_READY), f"the sandbox did not start: {line!r} {self.log.read_text()}"
        return line.removeprefix(_READY).strip()

    def _json(self, method: str, path: str, **options: t.Any) -> t.Any:
        response = self._http.request(method, self.url + path, timeout=60, **options)
        assert response.status_code == requests.codes.ok, f"{method} {path}: {response.status_code} {response.text}"
        return response.json()
