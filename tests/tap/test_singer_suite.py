"""The SDK's own suite, run as its users run it, against local files, a real web server and a real S3 server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t

import pytest

from tests.tap.conftest import SEED_ROWS, WebServer, Workplace, event

if t.TYPE_CHECKING:
    from tests.s3_server import S3Server

ROWS = [*SEED_ROWS, event(1, price=1.5, member=True), event(2, price=2, member=False)]
SUITE = """\
import json, pathlib
from singer_sdk.testing import get_tap_test_class
from tap_coolafile.tap import TapCoolaFile

config = json.loads(pathlib.Path(__file__).with_name("suite.json").read_text())
TestTapCoolaFile = get_tap_test_class(TapCoolaFile, config=config)
"""


@pytest.fixture(params=["local", "web", "s3"])
def source(request: pytest.FixtureRequest, place: Workplace) -> dict[str, t.Any]:
    """The settings that read `ROWS` from each kind of source."""
    body = "\n".join(ROWS).encode()
    if request.param == "web":
        web: WebServer = request.getfixturevalue("web")
        web.files["/a.json"] = body
        return {"uris": f"{web.url}/a.json"}
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        bucket = s3.bucket("suite", {"in/a.json": body})
        return {"uris": f"s3://{bucket}/in/", "aws_endpoint_url": s3.endpoint_url, **s3.admin.settings()}
    place.write("a.json", *ROWS)
    return {"uris": str(place.data) + "/"}


def test_the_suite_of_the_sdk_passes(place: Workplace, source: dict[str, t.Any]) -> None:
    config = source | {"rejects_path": str(place.folder / "rejects")}
    (place.folder / "suite.json").write_text(json.dumps(config))
    (place.folder / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_suite.py"]
    done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 15
    assert "skipped" not in done.stdout
