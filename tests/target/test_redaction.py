from __future__ import annotations

import logging
import typing as t

import pytest

from target_cooladata import redaction


@pytest.fixture
def secret() -> t.Iterator[str]:
    factory = logging.getLogRecordFactory()
    redaction.hide("s3cr3t-s3cr3t")
    yield "s3cr3t-s3cr3t"
    logging.setLogRecordFactory(factory)


def test_a_secret_in_a_message_is_masked(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("urllib3.connectionpool").warning('"POST /v3/%s/track HTTP/1.1" 200', secret)
    assert caplog.messages == ['"POST /v3/***/track HTTP/1.1" 200']


def test_a_secret_in_a_traceback_is_masked(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    try:
        int(f"https://host/v3/{secret}/track")
    except ValueError:
        logging.getLogger("anything").exception("it failed")
    assert secret not in caplog.text
    assert "https://host/v3/***/track" in caplog.text


def test_other_messages_are_left_alone(secret: str, caplog: pytest.LogCaptureFixture) -> None:
    assert secret
    logging.getLogger("anything").warning("%d of %s", 3, "seven")
    assert caplog.messages == ["3 of seven"]
