"""The sandbox as a child of the target, for `endpoint_url: sandbox:PATH`.

In: the path of a database. Out: the URL at which the child answers. The child ends when its standard input does, so it
never outlives the target, however that ends. Refused: an installation without the sandbox.
"""

from __future__ import annotations

import importlib.util
import selectors
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from target_cooladata.exceptions import SettingsError, TargetError

START_SECONDS = 30.0  # a second is usual; a database that another program has locked takes for ever
STOP_SECONDS = 10
_POLL_SECONDS = 0.1
_LISTENING = "listening on "


class EmbeddedSandbox:
    """A running sandbox.

    Args:
        path: its database; made, with its folder, where it is missing.
        seconds: how long it may take to start.
        is_hurried: whether the run is to end soon, so that it is not waited for.

    Raises:
        SettingsError: the sandbox is not installed.
        TargetError: it does not start, or not in time.
    """

    def __init__(
        self, path: str, seconds: float = START_SECONDS, is_hurried: t.Callable[[], bool] = lambda: False
    ) -> None:
        if importlib.util.find_spec("aiohttp") is None:
            msg = "endpoint_url: the sandbox is not installed; pip install 'target-cooladata[sandbox]'"
            raise SettingsError(msg)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"endpoint_url: the folder of the sandbox's database {path} cannot be made ({error.strerror})"
            raise SettingsError(msg) from None
        # By this interpreter, because Meltano does not put a plugin's own commands on the PATH.
        command = [sys.executable, "-c", "from target_cooladata.sandbox.app import main; main()", "serve"]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, the path as one argument
            [*command, "--db", path, "--port", "0", "--stop-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the target, which still has events to hand over
        )
        self.url = self._wait_until_it_answers(path, seconds, is_hurried)

    def stop(self) -> None:
        """End the child, and wait for it."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _wait_until_it_answers(self, path: str, seconds: float, is_hurried: t.Callable[[], bool]) -> str:
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(_POLL_SECONDS):
                if is_hurried() or time.monotonic() >= deadline:
                    self._process.kill()
                    self.stop()
                    msg = (
                        f"endpoint_url: the sandbox did not start within {seconds:g} s; check whether another program "
                        f"has locked its database {path}"
                    )
                    raise TargetError(msg)
        line = self._process.stdout.readline().decode()  # a line is written at once
        if not line.startswith(_LISTENING):
            self.stop()
            msg = "endpoint_url: the sandbox did not start; the lines above say why"
            raise TargetError(msg)
        return line.removeprefix(_LISTENING).strip()
