"""nginx as the receiving end: answers every call alike, at once or after 100 ms, and keeps count of what it took.

One of its places refuses the fifth call at once with 429.

Refuses to start without Debian's `nginx-light` and `libnginx-mod-http-echo`, which sleeps without keeping a worker
busy. Listens on loopback only; everything it writes is in the folder it is given.
"""

# ruff: noqa: S603 - nginx, by its path
from __future__ import annotations

import http.client
import shutil
import socket
import statistics
import subprocess
import time
import typing as t
from pathlib import Path

import msgspec

from benchmarks.processes import WrongError

FAR_SECONDS = 0.1
BORNE_CALLS = 4
STORAGE_SECONDS = 0.02
ANSWER = '{"status":true}'
_ECHO = Path("/usr/lib/nginx/modules/ngx_http_echo_module.so")
_START_SECONDS = 10.0
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

_CONFIG = """
load_module {echo};
worker_processes 1;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  {temporary}
  client_max_body_size 64m;
  client_body_buffer_size 4m;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  default_type application/json;
  access_log off;
  limit_conn_zone $server_port zone=bounded:1m;
  limit_conn_status 429;
  log_format calls '$status $content_length $request_length $request_time $request_method $uri';
  log_format bodies escape=none '$request_body';
  server {{
    listen 127.0.0.1:{api};
    location /near/ {{
      access_log {folder}/near.log calls;
      echo_read_request_body;
      echo -n '{answer}';
    }}
    location /far/ {{
      access_log {folder}/far.log calls;
      echo_read_request_body;
      echo_sleep {far};
      echo -n '{answer}';
    }}
    location /bounded/ {{
      access_log {folder}/bounded.log calls;
      limit_conn bounded {borne};
      echo_read_request_body;
      echo_sleep {far};
      echo -n '{answer}';
    }}
    location /probe/ {{
      access_log {folder}/probe.log bodies;
      echo_read_request_body;
      echo -n '{answer}';
    }}
  }}
  server {{
    listen 127.0.0.1:{storage};
    access_log {folder}/storage.log calls;
    location / {{ echo_sleep {storage_delay}; echo_exec @storage; }}
    location @storage {{
      proxy_pass http://127.0.0.1:{moto};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


class Calls(msgspec.Struct, frozen=True):
    """What nginx counted.

    Attributes:
        calls: answered with 200.
        body_bytes: of those calls' bodies.
        others: answered with anything else.
        seconds: the median time from a call's first byte to its answer.
    """

    calls: int
    body_bytes: int
    others: int
    seconds: float


class Nginx:
    """A running nginx; use it as a context manager.

    Attributes:
        storage_port: where requests are passed on to `moto_port`, 20 ms later.
        moto_port: a free port for the storage server.
    """

    def __init__(self, folder: Path) -> None:
        """Start nginx with its files in `folder`."""
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
        if program is None or not _ECHO.exists():
            msg = "nginx is missing; on Debian: apt-get install nginx-light libnginx-mod-http-echo"
            raise WrongError(msg)
        folder.mkdir(parents=True)
        self._folder = folder
        self._program = program
        self._port, self.storage_port, self.moto_port = _free_ports(3)
        (folder / "nginx.conf").write_text(self._config())
        self._process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(folder / "nginx.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._port, self._process)

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def url(self, place: str) -> str:
        """Give the address that answers at once (`near`), late (`far`), or keeps bodies (`probe`)."""
        return f"http://127.0.0.1:{self._port}/{place}"

    def version(self) -> str:
        """Give nginx's version."""
        done = subprocess.run([self._program, "-v"], capture_output=True, text=True, check=True)
        return done.stderr.strip().rpartition("/")[2]

    def forget(self) -> None:
        """Begin to count anew."""
        for log in self._folder.glob("*.log"):
            if log.name != "error.log":
                log.write_bytes(b"")  # nginx appends, so the next line stands at the beginning

    def calls(self, place: str) -> Calls:
        """Count the calls to a place since `forget`."""
        lines = [line.split() for line in (self._folder / f"{place}.log").read_text().splitlines()]
        good = [line for line in lines if line[0] == "200"]
        return Calls(
            calls=len(good),
            body_bytes=sum(int(line[1]) for line in good if line[1] != "-"),
            others=len(lines) - len(good),
            seconds=statistics.median(float(line[3]) for line in good) if good else 0.0,
        )

    def statuses(self, place: str) -> list[str]:
        """Give the statuses of the calls to a place since `forget`, in the order of its answers."""
        return [line.split()[0] for line in (self._folder / f"{place}.log").read_text().splitlines()]

    def objects(self) -> int:
        """Count the objects got from the storage since `forget`: GET below a bucket, answered with 200 or 206."""
        lines = [line.split() for line in (self._folder / "storage.log").read_text().splitlines()]
        return sum(
            line[0] in {"200", "206"} and line[4] == "GET" and line[5].strip("/").count("/") > 0 for line in lines
        )

    def bodies(self) -> list[bytes]:
        """Give the bodies that were sent to `probe` since `forget`."""
        return (self._folder / "probe.log").read_bytes().splitlines()

    def _config(self) -> str:
        folder = self._folder
        return _CONFIG.format(
            echo=_ECHO,
            folder=folder,
            temporary=" ".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY),
            api=self._port,
            storage=self.storage_port,
            moto=self.moto_port,
            answer=ANSWER,
            far=FAR_SECONDS,
            borne=BORNE_CALLS,
            storage_delay=STORAGE_SECONDS,
        )


def wait_for(port: int, process: subprocess.Popen[t.Any]) -> None:
    """Wait until somebody listens on a port of loopback.

    Raises:
        WrongError: the process has ended, or took too long.
    """
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
        except OSError:
            time.sleep(0.05)
        else:
            return
    process.kill()
    msg = f"a server did not start (exit code {process.wait()})"
    raise WrongError(msg)


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody uses; held together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports
