"""One file behind a scheme that smart_open alone knows: read whole, from any byte, and never half of it as if whole."""

from __future__ import annotations

import os
import typing as t

import pytest

from tap_coolafile.exceptions import BadFileError, SettingError
from tap_coolafile.sources.other import OtherSource
from tap_coolafile.uris import parse
from tests.ftp_server import FtpServer
from tests.tap.buckets import ROWS, USERS
from tests.tap.conftest import Workplace, checked

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tap.conftest import WebServer


@pytest.fixture
def ftp() -> Iterator[FtpServer]:
    server = FtpServer()
    yield server
    server.stop()


def test_a_file_behind_ftp_is_read_once(place: Workplace, ftp: FtpServer) -> None:
    ftp.files["/in/a.json"] = ROWS
    run = place.sync(uris=f"{ftp.url}/in/a.json")
    assert run.users == USERS
    assert place.sync(uris=f"{ftp.url}/in/a.json", state=run.state).users == []


def test_a_file_behind_webhdfs_is_read(place: Workplace, web: WebServer) -> None:
    web.files["/webhdfs/v1/in/a.json"] = ROWS
    assert place.sync(uris=f"{web.url.replace('http', 'webhdfs')}/in/a.json").users == USERS


@pytest.mark.parametrize("cut", [0, 1_000_000])
def test_a_transfer_that_was_cut_off_is_no_whole_file_and_the_next_run_goes_on(
    place: Workplace, ftp: FtpServer, cut: int
) -> None:
    ftp.files["/a.json"], ftp.cut_after = ROWS, [cut]
    given = {"uris": f"{ftp.url}/a.json", "state_interval_rows": 1000}
    with pytest.raises(BadFileError, match="stay pending"):
        place.sync(**given)
    before = place.last
    assert bool(before.users) == bool(cut)
    later = place.sync(state=before.state, **given)
    assert before.users + later.users == USERS


def test_a_transfer_that_was_cut_off_is_told_with_its_byte(ftp: FtpServer) -> None:
    ftp.files["/a.json"], ftp.cut_after = ROWS, [5000]
    uri = f"{ftp.url}/a.json"
    source = OtherSource(parse(uri), checked(uri))
    (item,) = source.files("")
    handle = source.open(item, 1000)
    assert handle.read(10_000) == ROWS[1000:5000]
    with pytest.raises(BadFileError, match=r"a\.json broke off at byte 5000 \(error_temp\)"):
        handle.read(1)
    handle.close()


def test_a_file_that_became_shorter_is_told(ftp: FtpServer) -> None:
    ftp.files["/a.json"] = ROWS
    uri = f"{ftp.url}/a.json"
    source = OtherSource(parse(uri), checked(uri))
    (item,) = source.files("")
    with pytest.raises(BadFileError, match="is shorter than the byte"):
        source.open(item, len(ROWS) + 1)


def test_who_is_refused_is_told_without_the_password(place: Workplace, ftp: FtpServer) -> None:
    ftp.password = "other"  # noqa: S105 - of nobody
    run = place.run(uris=f"{ftp.url}/a.json", env=os.environ | {"TAP_COOLAFILE_LOGLEVEL": "DEBUG"})
    (line,) = run.complaints
    assert line.endswith("/a.json cannot be opened (error_perm); check uris and transport_params")
    assert "sesame" not in run.log


def test_a_scheme_that_nothing_reads_is_told() -> None:
    uri = "gopher://host/a.json"
    with pytest.raises(SettingError, match="neither the tap nor smart_open reads gopher://"):
        OtherSource(parse(uri), checked(uri))
