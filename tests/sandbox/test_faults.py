"""Faults of the sandbox, over HTTP against the real server."""

from __future__ import annotations

import typing as t

import pytest
import requests

if t.TYPE_CHECKING:
    from tests.sandbox_server import SandboxServer

EVENT = {"event_name": "login", "user_id": "u1", "event_timestamp_epoch": 1350273990000}


def test_a_reset_after_store_loses_the_answer_and_not_the_event(sandbox: SandboxServer) -> None:
    sandbox.set_faults({"kind": "reset_after_store", "times": 1})
    with pytest.raises(requests.ConnectionError):
        sandbox.track([EVENT])
    assert sandbox.track([EVENT]).json()["status"] is True
    assert (sandbox.summary()["events"], sandbox.summary()["distinct"]) == (2, 1)
