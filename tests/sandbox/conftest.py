"""Fixtures for the sandbox's own tests."""

from __future__ import annotations

import typing as t

import pytest

from tests.sandbox_server import SandboxServer

if t.TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    """One sandbox for all tests of a module, which keep out of each other's way by names of their own."""
    with SandboxServer(tmp_path_factory.mktemp("shared") / "sandbox.db") as server:
        yield server
        assert server.log.read_text() == ""
