"""What client libraries log of keys and signatures, which nobody reads: not at DEBUG, not if a configuration asks."""

from __future__ import annotations

import json
import os
import typing as t

import pytest

from tests.tap.conftest import Workplace, event

if t.TYPE_CHECKING:
    from tests.s3_server import S3Server
    from tests.tap.conftest import WebServer

_ASKED = ["botocore.auth", "botocore.endpoint", "botocore", "smart_open.s3", "urllib3", "urllib3.connectionpool"]


@pytest.fixture
def env(place: Workplace) -> dict[str, str]:
    """The SDK told to log at DEBUG, by a configuration that names loggers of client libraries too."""
    asked = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"all": {"class": "logging.StreamHandler"}},
        "root": {"level": "DEBUG", "handlers": ["all"]},
        "loggers": {name: {"level": "DEBUG"} for name in _ASKED},
    }
    (place.folder / "logging.yaml").write_text(json.dumps(asked))
    return os.environ | {
        "SINGER_SDK_LOG_CONFIG": str(place.folder / "logging.yaml"),
        "TAP_COOLAFILE_LOGLEVEL": "DEBUG",
    }


def test_keys_and_signatures_for_s3_are_not_logged(place: Workplace, s3: S3Server, env: dict[str, str]) -> None:
    bucket = s3.bucket("logged", {"in/a.json": event(1, note="content").encode()})
    place.config["rejects_path"] = f"s3://{bucket}/rejects"
    s3.s3.put_object(Bucket=bucket, Key="in/b.json", Body=(event(2) + "\n{content").encode())
    given = {"aws_endpoint_url": s3.endpoint_url, **s3.admin.settings()}
    run = place.run(uris=f"s3://{bucket}/in/", env=env, **given)
    assert (run.code, run.users, run.report["rows_rejected"]) == (0, ["u1", "u2"], 1)
    assert "Selection metadata omitted" in run.log  # so it is at DEBUG
    for secret in (s3.admin.access, s3.admin.secret, "Signature", "content"):
        assert secret not in run.log


def test_a_signed_uri_is_not_logged(place: Workplace, web: WebServer, env: dict[str, str]) -> None:
    web.files["/a.json"] = event(1, note="content").encode()
    uri = web.url.replace("http://", "http://me:geheim@") + "/a.json?X-Amz-Signature=sesame"
    run = place.run(uris=uri, env=env)
    assert (run.code, run.users) == (0, ["u1"])
    for secret in ("geheim", "bWU6Z2VoZWlt", "sesame", "content"):
        assert secret not in run.log
