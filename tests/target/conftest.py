"""Fixtures for the target: the command, sending to a real sandbox."""

from __future__ import annotations

import typing as t

import pytest

from tests.commands import Finished, run, write_config
from tests.singer import APP_KEY

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer


class RunTarget(t.Protocol):
    """Runs the target on some messages, with settings beside the usual ones."""

    def __call__(self, *lines: str, env: t.Mapping[str, str] | None = None, **settings: t.Any) -> Finished: ...


@pytest.fixture
def run_target(sandbox: SandboxServer, tmp_path: Path) -> RunTarget:
    """The target's command, sending to the test's sandbox, its rejects below the test's folder."""

    def command(*lines: str, env: t.Mapping[str, str] | None = None, **settings: t.Any) -> Finished:
        usual = {
            "endpoint_url": sandbox.url, "app_key": APP_KEY, "rejects_path": str(tmp_path / "rejects"),
            "journal_path": str(tmp_path / "journal"),
        }  # fmt: skip
        config = write_config(tmp_path, **(usual | settings))
        return run("target-cooladata", "--config", config, stdin="".join(lines), env=env)

    return command
