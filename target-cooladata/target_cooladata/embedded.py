"""The sandbox as a child of the target, for `endpoint_url: sandbox:PATH`.

In: the path of a database. Out: the URL at which the child answers. The child ends when its standard input does, so it
never outlives the target, however that ends. Refused: an installation without the sandbox.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from target_cooladata.exceptions import SettingsError, TargetError

STOP_SECONDS = 10
_LISTENING = "listening on "


class EmbeddedSandbox:
    """A running sandbox.

    Args:
        path: its database; made, with its folder, where it is missing.

    Raises:
        SettingsError: the sandbox is not installed.
        TargetError: it does not start.
    """

    def __init__(self, path: str) -> None:
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
            text=True,
            start_new_session=True,  # Ctrl-C is for the target, which still has events to hand over
        )
        self.url = self._wait_until_it_answers()

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

    def _wait_until_it_answers(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - asked for above
        line = self._process.stdout.readline()
        if not line.startswith(_LISTENING):
            self.stop()
            msg = "endpoint_url: the sandbox did not start; the lines above say why"
            raise TargetError(msg)
        return line.removeprefix(_LISTENING).strip()
