"""Fixtures for every test: in, a temporary folder; out, a real sandbox in it."""

from __future__ import annotations

import os
import typing as t

import pytest
from hypothesis import HealthCheck, settings

from tests.sandbox_server import SandboxServer

if t.TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# How long an example takes says how busy the machine is. Where a change is judged, examples are the same each time.
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("unhurried")


@pytest.fixture
def start_sandbox(tmp_path: Path) -> Iterator[Callable[..., SandboxServer]]:
    """Start sandboxes with options of the test's own; what still runs at its end is stopped, in order."""
    servers: list[SandboxServer] = []

    def start(*options: str, db: Path = tmp_path / "sandbox.db", port: int = 0) -> SandboxServer:
        servers.append(SandboxServer(db, *options, port=port))
        return servers[-1]

    yield start
    for server in servers:
        was_running = server.process.poll() is None
        assert server.stop() == 0 or not was_running, server.log.read_text()
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
def sandbox(start_sandbox: Callable[..., SandboxServer]) -> SandboxServer:
    """A running sandbox with an empty database, no faults, and every app key known."""
    return start_sandbox()
