"""The target's rejects in S3: a real server, one that refuses, one that is not there, one that never answers."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import threading
import time
import typing as t

import pytest

from tests.s3_server import REGION, Keys, S3Server
from tests.singer import event, record, schema, state

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import RunTarget, StartTarget


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running S3 server."""
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


class Silent:
    """A server that takes connections and never answers.

    Attributes:
        url: its address.
        was_asked: set once somebody has sent it something.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.was_asked = threading.Event()
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._connections:
            connection.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                if connection.recv(1):
                    self.was_asked.set()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.stop()


def aws(endpoint: str, keys: Keys) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": keys.access, "AWS_SECRET_ACCESS_KEY": keys.secret,
        "AWS_DEFAULT_REGION": REGION,
    }  # fmt: skip


LINES = [state(n=0), schema(), event(1), record(n=1, text="kept"), state(n=1)]
SOMEONE = Keys("AKIASOMEONE", "nobodyssecretkey")


def test_rejects_are_in_s3_before_state_passes_them(run_target: RunTarget, s3: S3Server) -> None:
    bucket = s3.bucket("kept")
    done = run_target(*LINES, rejects_path=f"s3://{bucket}/rejects/target", env=aws(s3.endpoint_url, s3.admin))
    assert (done.code, done.states[-1]) == (0, {"n": 1}), done.stderr
    (key,) = [entry["Key"] for entry in s3.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert re.fullmatch(rf"rejects/target/\d{{4}}-\d\d-\d\d/{done.report['run_id']}\.json", key)
    assert done.report["rejects"] == f"s3://{bucket}/{key}"
    reject = json.loads(s3.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    assert (reject["reason"], reject["record"]) == ("missing_user_id", {"n": 1, "text": "kept"})


def test_each_state_that_passes_rejects_closes_an_object(start_target: StartTarget, s3: S3Server) -> None:
    bucket = s3.bucket("parts")
    process = start_target(rejects_path=f"s3://{bucket}/rejects", env=aws(s3.endpoint_url, s3.admin))
    for number in (1, 2, 3):
        process.write(schema(), record(n=number), event(number), state(n=number))
        assert json.loads(process.line()) == {"n": number}
        found = [entry["Key"] for entry in s3.s3.list_objects_v2(Bucket=bucket)["Contents"]]
        texts = [s3.s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in found]
        assert sorted(json.loads(text)["record"]["n"] for text in texts) == list(range(1, number + 1))
    assert process.end()[0] == 0


def test_s3_that_refuses_is_one_line_and_state_stays_before(run_target: RunTarget, s3: S3Server) -> None:
    bucket = s3.bucket("refused")
    reader = s3.user("target-reader", [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}])
    for place, words in ((bucket, "AccessDenied"), ("nosuchbucket", "AccessDenied")):
        done = run_target(*LINES, rejects_path=f"s3://{place}/rejects", env=aws(s3.endpoint_url, reader))
        assert done.code == 1
        (line,) = done.complaints
        assert f"below s3://{place}/rejects (the storage answered {words})" in line
        assert "check `rejects_path`" in line
        assert {"n": 1} not in done.states


def test_s3_that_is_not_there_is_one_line_within_seconds_and_no_secret_is_logged(
    run_target: RunTarget,
) -> None:
    before = time.monotonic()
    done = run_target(
        *LINES, rejects_path="s3://AKIASOMEONE:nobodyssecretkey@bucket/rejects",
        env=aws("http://127.0.0.1:1", SOMEONE) | {"TARGET_COOLADATA_LOGLEVEL": "DEBUG", "LOGLEVEL": "DEBUG"},
    )  # fmt: skip
    assert time.monotonic() - before < 30
    assert done.code == 1
    (line,) = done.complaints
    assert "below s3://bucket/rejects (EndpointConnectionError)" in line
    assert {"n": 1} not in done.states
    assert done.report["equation_closes"]
    assert "nobodyssecretkey" not in done.stderr
    assert "AKIASOMEONE" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("api_hangs", [False, True])
def test_a_signal_ends_a_run_whose_s3_never_answers(
    start_target: StartTarget, sandbox: SandboxServer, silent: Silent, *, api_hangs: bool
) -> None:
    process = start_target(rejects_path="s3://bucket/rejects", env=aws(silent.url, SOMEONE))
    process.write(state(n=0), schema(), event(1), state(n=1))
    while json.loads(process.line()) != {"n": 1}:
        pass
    if api_hangs:
        sandbox.set_faults({"kind": "slow", "delay_ms": 60_000, "times": None})
    process.write(record(n=1), state(n=2), event(2))
    assert silent.was_asked.wait(30)
    asked = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    code, out, err = process.end()
    assert time.monotonic() - asked < 10
    assert code == 1
    assert '"n": 2' not in out
    (line,) = [line for line in err.splitlines() if "| ERROR" in line]
    assert "below s3://bucket/rejects (no answer for" in line
    assert '"equation_closes":true' in err
    assert "Traceback" not in err
