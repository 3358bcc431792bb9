"""A real S3 server over HTTP on loopback: moto, which checks signatures and policies, in a process of its own.

In go bucket names and objects, out comes an endpoint that a client signs its requests for. Unsigned requests are let
through to buckets made public and refused elsewhere, which moto alone does not do. Every request is written to a log,
so that a test can say which calls were made, and by which key.

As a program, `python -m tests.s3_server LOG`, it prints its address once it listens, and stops with its parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import typing as t
import urllib.parse
from pathlib import Path

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REGION = "us-east-1"
_DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
_PUBLISH = "/__publish/"


class Keys(t.NamedTuple):
    """An access key and its secret."""

    access: str
    secret: str

    def settings(self) -> dict[str, str]:
        """Return them as the tap's settings."""
        return {"aws_access_key_id": self.access, "aws_secret_access_key": self.secret}


class S3Server:
    """One server; `endpoint_url` is its address, `admin` the keys that may do anything."""

    def __init__(self, folder: Path) -> None:
        """Start a server whose log goes to `folder`, and wait until it listens."""
        self.log = folder / "s3-requests.log"
        self.log.touch()
        with (folder / "s3-server.err").open("wb") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.s3_server", str(self.log)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                cwd=Path(__file__).parent.parent,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, (folder / "s3-server.err").read_text()
        started = json.loads(line)
        self.endpoint_url: str = started["endpoint_url"]
        self.admin = Keys(started["access"], started["secret"])
        self.s3 = self.client("s3")

    def client(self, service: str, keys: Keys | None = None) -> t.Any:
        """Return a boto3 client of `service` that signs with `keys`, else with the admin's."""
        import boto3  # noqa: PLC0415 - only tests of S3 pay for it
        import botocore.config  # noqa: PLC0415 - as above

        keys = keys or self.admin
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
            region_name=REGION,
            config=botocore.config.Config(request_checksum_calculation="when_required", retries={"max_attempts": 1}),
        )

    def bucket(self, name: str, objects: dict[str, bytes] | None = None, *, public: bool = False) -> str:
        """Create a bucket with `objects` (key to content) and return its name."""
        self.s3.create_bucket(Bucket=name)
        for key, body in (objects or {}).items():
            self.s3.put_object(Bucket=name, Key=key, Body=body)
        if public:
            import requests  # noqa: PLC0415 - as above

            requests.post(self.endpoint_url + _PUBLISH + name, timeout=10).raise_for_status()
        return name

    def user(self, name: str, statements: list[dict[str, t.Any]]) -> Keys:
        """Create a user with a policy of `statements` and return the user's keys."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=document)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Keys(made["AccessKeyId"], made["SecretAccessKey"])

    def requests(self) -> list[str]:
        """Return the requests so far, each as `METHOD path?query key`, where key is `-` for unsigned ones."""
        return self.log.read_text().splitlines()

    def stop(self) -> None:
        """Kill the server, as a crash would."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class _Gate:
    """WSGI in front of moto: the log, and what S3 does with unsigned requests."""

    def __init__(self, app: t.Any, log: Path) -> None:
        self._app = app
        self.admin = Keys("", "")
        self._log = log
        self._public: set[str] = set()

    def __call__(self, environ: dict[str, t.Any], start: Callable[..., t.Any]) -> Iterable[bytes]:
        path, signature = environ["PATH_INFO"], environ.get("HTTP_AUTHORIZATION", "")
        if path.startswith(_PUBLISH):
            self._public.add(path.removeprefix(_PUBLISH))
            start("204 No Content", [])
            return [b""]
        key = signature.partition("Credential=")[2].partition("/")[0] or "-"
        target = path + ("?" + environ["QUERY_STRING"] if environ["QUERY_STRING"] else "")
        with self._log.open("a") as log:
            log.write(f"{environ['REQUEST_METHOD']} {target} {key}\n")
        if not signature:
            # moto checks signatures in headers alone; of one in the URL the method and the expiry are checked here.
            asked = urllib.parse.parse_qs(environ["QUERY_STRING"])
            timely = environ["REQUEST_METHOD"] == "GET" and int(asked.get("Expires", ["0"])[0]) > time.time()
            if not timely and path.split("/")[1] not in self._public:
                start("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(_DENIED)))])
                return [b"" if environ["REQUEST_METHOD"] == "HEAD" else _DENIED]
            if timely:
                target, environ["QUERY_STRING"] = path, ""
            self._sign(environ, target)
        return t.cast("Iterable[bytes]", self._app(environ, start))

    def _sign(self, environ: dict[str, t.Any], target: str) -> None:
        """Sign a public request as the admin, since moto knows no other way to let it through."""
        import botocore.auth  # noqa: PLC0415 - the server's process alone
        import botocore.awsrequest  # noqa: PLC0415 - as above
        import botocore.credentials  # noqa: PLC0415 - as above

        request = botocore.awsrequest.AWSRequest(
            environ["REQUEST_METHOD"],
            f"http://{environ['HTTP_HOST']}{urllib.parse.quote(target, safe='/?=&%')}",
            headers={"Host": environ["HTTP_HOST"]},
        )
        credentials = botocore.credentials.Credentials(*self.admin)
        botocore.auth.S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
        for name, value in request.headers.items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value


def _serve(log: Path) -> None:
    """Serve until standard input ends, which it does when the parent does."""
    from moto import settings  # noqa: PLC0415 - the server's process alone
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - as above
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415 - as above

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: t.Any) -> None:
            """Keep standard error for what goes wrong."""

    dispatcher = DomainDispatcherApplication(create_backend_app)
    gate = _Gate(dispatcher, log)
    server = make_server("127.0.0.1", 0, gate, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    gate.admin = admin = _administrator(endpoint)
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    sys.stdout.write(json.dumps({"endpoint_url": endpoint, "access": admin.access, "secret": admin.secret}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


def _administrator(endpoint: str) -> Keys:
    """Create the admin, while moto still asks nobody for a signature."""
    import boto3  # noqa: PLC0415 - the server's process alone

    anyone = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": REGION}
    iam = boto3.client("iam", endpoint_url=endpoint, **anyone)
    iam.create_user(UserName="admin")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=json.dumps(everything))
    made = iam.create_access_key(UserName="admin")["AccessKey"]
    return Keys(made["AccessKeyId"], made["SecretAccessKey"])


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
