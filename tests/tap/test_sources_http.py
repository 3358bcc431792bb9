"""One file behind http: described by its headers, read by ranges, taken up again where a connection broke."""

from __future__ import annotations

import threading
import typing as t

import pytest

from tap_coolafile.exceptions import BadFileError, MissingFileError, StorageError
from tap_coolafile.sources.http import HttpSource
from tap_coolafile.uris import parse
from tests.tap.conftest import Workplace, checked, event

if t.TYPE_CHECKING:
    from tap_coolafile.sources.base import FileItem
    from tests.tap.conftest import WebServer

BODY = bytes(range(256)) * 4000


def opened(web: WebServer, path: str = "/a.json") -> tuple[HttpSource, FileItem]:
    source = HttpSource(parse(web.url + path), checked(web.url))
    (item,) = source.files("")
    return source, item


def whole(source: HttpSource, item: FileItem, offset: int = 0) -> bytes:
    handle = source.open(item, offset)
    data = b""
    while more := handle.read(100_000):
        data += more
    handle.close()
    return data


def test_a_file_is_described_by_its_headers(web: WebServer) -> None:
    web.files["/a.json"], web.etags["/a.json"] = BODY, '"one"'
    _, item = opened(web)
    assert (item.size, item.etag, item.mtime_ms) == (len(BODY), '"one"', 1350273990000)


def test_a_server_that_answers_get_alone_is_asked_by_get(web: WebServer) -> None:
    web.files["/a.json"], web.head_status = BODY, 405
    source, item = opened(web)
    assert whole(source, item) == BODY


def test_reading_starts_at_an_offset(web: WebServer) -> None:
    web.files["/a.json"] = BODY
    source, item = opened(web)
    assert whole(source, item, 5000) == BODY[5000:]
    assert web.asked[-1].endswith("bytes=5000-")


def test_a_server_without_ranges_is_read_from_its_beginning(web: WebServer) -> None:
    web.files["/a.json"], web.ranges = BODY, False
    source, item = opened(web)
    assert whole(source, item, 5000) == BODY[5000:]


def test_a_connection_that_breaks_is_taken_up_at_its_byte(web: WebServer) -> None:
    web.files["/a.json"] = BODY
    source, item = opened(web)
    web.drop_after = [300_000, 1]
    assert whole(source, item) == BODY
    assert [call.split()[-1] for call in web.asked[1:3]] == ["-", "bytes=300000-"]


def test_a_file_that_changes_while_it_is_read_is_a_bad_file(web: WebServer) -> None:
    web.files["/a.json"], web.etags["/a.json"] = BODY, '"one"'
    source, item = opened(web)
    web.etags["/a.json"] = '"two"'
    with pytest.raises(BadFileError, match="changed while it was read"):
        whole(source, item)


@pytest.mark.parametrize(("changed", "longer"), [("Tue, 16 Oct 2012 04:06:30 GMT", b""), (None, b"more")])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_without_etag_that_changes_while_it_is_read_is_a_bad_file(
    web: WebServer, changed: str | None, longer: bytes, *, ranges: bool
) -> None:
    web.files["/a.json"], web.etags["/a.json"], web.ranges = BODY, "", ranges
    source, item = opened(web)
    web.drop_after = [300_000]
    handle = source.open(item, 0)
    assert handle.read(300_000) == BODY[:300_000]
    web.files["/a.json"], web.changed = b"x" * len(BODY) + longer, changed
    with pytest.raises(BadFileError, match="changed while it was read"):
        handle.read(100_000)
    handle.close()


def test_the_etag_is_a_precondition(web: WebServer) -> None:
    web.files["/a.json"] = BODY
    source, item = opened(web)
    web.files["/a.json"] = b"x" * len(BODY)
    with pytest.raises(BadFileError, match="changed while it was read"):
        whole(source, item, 5000)
    assert web.refused == [f"If-Match {item.etag}"]


def test_a_server_without_ranges_that_drops_again_and_again_is_read_whole(web: WebServer) -> None:
    web.files["/a.json"], web.ranges = BODY, False
    source, item = opened(web)
    web.drop_after = [300_000, 200_000, 100, 400_000]
    assert whole(source, item) == BODY


def test_a_body_that_tells_no_length_and_ends_early_is_taken_up_at_its_byte(web: WebServer) -> None:
    web.files["/a.json"], web.lengths = BODY, False
    source, item = opened(web)
    web.drop_after = [300_000]
    assert whole(source, item) == BODY


@pytest.mark.parametrize("described", [True, False])
def test_a_file_read_to_its_last_byte_but_not_yet_done_is_done_by_the_next_run(
    place: Workplace, web: WebServer, *, described: bool
) -> None:
    web.files["/a.json"], web.described = "".join(event(number) + "\n" for number in range(1000)).encode(), described
    config = {"uris": f"{web.url}/a.json", "state_interval_rows": 1000}
    states = [message["value"] for message in place.sync(**config).of("STATE")]
    at_its_end = states[1]
    assert place.sync(state=at_its_end, **config).users == []


def test_a_missing_file_is_told(web: WebServer) -> None:
    with pytest.raises(MissingFileError, match="HTTP 404"):
        opened(web)


def test_a_server_that_is_not_there_is_told_without_its_query(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.stop()
    monkeypatch.setattr("tap_coolafile.sources.http.PAUSE_S", 0.001)
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        list(HttpSource(parse(web.url + "/a.json?sig=sesame"), checked(web.url)).files(""))
    assert "sesame" not in str(caught.value)


def test_a_server_that_starts_again_is_waited_for(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tap_coolafile.sources.http.PAUSE_S", 0.001)
    web.files["/a.json"], web.drop_after = BODY, [300_000]
    source, item = opened(web)
    handle = source.open(item, 0)
    found = handle.read(300_000)
    web.stop()
    again = threading.Timer(1, web.start)
    again.start()
    while more := handle.read(100_000):
        found += more
    handle.close()
    again.join()
    assert found == BODY


def test_a_file_whose_changes_cannot_be_seen_is_told_once(place: Workplace, web: WebServer) -> None:
    web.files["/a.json"], web.described = event(1).encode(), False
    uri = web.url + "/a.json?sig=sesame"
    run = place.run(uris=uri)
    assert (run.code, run.users) == (0, ["u1"]), run.log
    assert run.log.count("comes without ETag, Last-Modified and Content-Length: no change of it can be seen") == 1
    assert "sesame" not in run.log
    web.files["/a.json"] = event(2).encode()
    assert place.run(uris=uri, state=run.state).users == []
    web.described = True
    assert "no change of it" not in place.run(uris=uri).log
