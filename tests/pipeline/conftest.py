"""Fixtures for the pair as a whole: the tap, and whatever stands behind it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import typing as t
from pathlib import Path

import pytest

from tests.commands import BIN, Finished, run, write_config

UV = BIN / "uv"


@pytest.fixture
def rows(tmp_path: Path) -> t.Callable[..., Path]:
    """Write a file of rows below `in/`; a text stands for itself."""

    def write(name: str, *lines: t.Any) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    return write


@pytest.fixture
def run_tap(tmp_path: Path) -> t.Callable[..., Finished]:
    """The tap's command on `in/`, with the state that it is given."""

    def command(state: t.Any = None, **settings: t.Any) -> Finished:
        folder = tmp_path / "tap"
        folder.mkdir(exist_ok=True)
        usual = {"uris": f"{tmp_path / 'in'}/", "rejects_path": str(folder / "rejects")}
        arguments: list[t.Any] = ["--config", write_config(folder, **(usual | settings))]
        if state is not None:
            (folder / "state.json").write_text(json.dumps(state))
            arguments += ["--state", folder / "state.json"]
        return run("tap-coolafile", *arguments)

    return command


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[..., Path]:
    """Install a package in an environment of its own, once a session, and give the folder of its commands."""
    environments: dict[tuple[str, ...], Path] = {}

    def installed(*packages: str) -> Path:
        if packages not in environments:
            folder = tmp_path_factory.mktemp("environment")
            environment = {**os.environ, "VIRTUAL_ENV": str(folder)}
            subprocess.run([UV, "venv", "--quiet", "--python", "3.11", folder], check=True)
            subprocess.run([UV, "pip", "install", "--quiet", *packages], check=True, env=environment)
            environments[packages] = folder / "bin"
        return environments[packages]

    return installed


@pytest.fixture(scope="module")
def postgres() -> t.Iterator[str]:
    """The URI of a real PostgreSQL, empty at first."""
    # Not below pytest's own folder, which another session closes to the user that the server runs as.
    with tempfile.TemporaryDirectory() as folder:
        # It looks up the user's run-time folder, which a machine without a login session lacks.
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        import pgserver  # noqa: PLC0415 - see above

        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()
