"""SFTP over connections that drop: reading goes on at its byte, listing at its folder, and every row comes once."""

from __future__ import annotations

import threading
import typing as t
from pathlib import Path

import pytest

from tap_coolafile.exceptions import BadFileError, StorageError
from tap_coolafile.sources.sftp import SftpSource
from tap_coolafile.uris import parse
from tests.relay import Relay
from tests.sftp_server import SSHD, SftpServer
from tests.tap.conftest import Workplace, checked, event

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tap_coolafile.sources.base import FileItem

SIGNED_IN_BYTES = 20_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    if not Path(SSHD).exists():
        pytest.skip("OpenSSH's server is not installed (Debian: openssh-server)")
    server = SftpServer(tmp_path_factory.mktemp("sftp") / "server")
    yield server
    server.stop()


@pytest.fixture
def relay(server: SftpServer) -> Iterator[Relay]:
    relay = Relay(server.port)
    server.know("host", relay.port)
    yield relay
    relay.stop()


def url(server: SftpServer, relay: Relay, path: object) -> str:
    return server.url.replace(str(server.port), str(relay.port)) + str(path)


def source(server: SftpServer, relay: Relay, path: object) -> SftpSource:
    uri = url(server, relay, path)
    return SftpSource(parse(uri), checked(uri, **server.settings()))


def content(found: SftpSource, item: FileItem) -> bytes:
    handle, data = found.open(item, 0), b""
    while more := handle.read(100_000):
        data += more
    handle.close()
    return data


@pytest.mark.parametrize("cut", [SIGNED_IN_BYTES, 300_000, 999_999])
def test_a_file_whose_connection_drops_in_the_middle_is_read_on_at_its_byte(
    place: Workplace, server: SftpServer, relay: Relay, cut: int
) -> None:
    path = place.write("a.json", *(event(n) for n in range(20_000)))
    found = source(server, relay, path)
    (item,) = found.files("")
    relay.cut_after = [cut]
    assert content(found, item) == path.read_bytes()
    assert relay.connections == 3


def test_a_run_whose_connections_drop_reads_every_row_once(place: Workplace, server: SftpServer, relay: Relay) -> None:
    for file in range(4):
        place.write(f"{file}.json", *(event(n) for n in range(file * 10_000, file * 10_000 + 10_000)))
    relay.cut_after = [100_000_000, 400_000, 50_000, 700_000, 100_000]
    run = place.run(uris=url(server, relay, f"{place.data}/"), **server.settings())
    assert (run.code, run.users) == (0, [f"u{n}" for n in range(40_000)]), run.log
    assert relay.connections > 5
    assert "xception" not in run.log
    assert "Traceback" not in run.log


def test_when_every_connection_drops_at_once_listing_and_reading_go_on(
    place: Workplace, server: SftpServer, relay: Relay
) -> None:
    for name in ("a.json", "b.json", "c/d.json", "e/f.json"):
        place.write(name, event(1))
    found = source(server, relay, f"{place.data}/")
    items = found.files("")
    first, second = next(items), next(items)
    assert content(found, first)
    relay.drop()
    assert content(found, second)
    relay.drop()
    assert [item.path for item in items] == [f"{place.data}/c/d.json", f"{place.data}/e/f.json"]
    handle = found.open(second, 0)
    relay.drop()
    assert handle.read(10)
    handle.close()


def test_a_server_that_starts_again_is_waited_for(place: Workplace, server: SftpServer, relay: Relay) -> None:
    path = place.write("a.json", *(event(n) for n in range(5000)))
    found = source(server, relay, path)
    (item,) = found.files("")
    handle = found.open(item, 0)
    data = handle.read(1000)
    server.stop()
    relay.drop()
    again = threading.Timer(1, server.start)
    again.start()
    while more := handle.read(100_000):
        data += more
    again.join()
    handle.close()
    assert data == path.read_bytes()


def test_a_file_that_changed_while_its_connection_was_down_is_a_bad_file(
    place: Workplace, server: SftpServer, relay: Relay
) -> None:
    path = place.write("a.json", *(event(n) for n in range(5000)))
    found = source(server, relay, path)
    (item,) = found.files("")
    handle = found.open(item, 0)
    assert handle.read(1000)
    place.write("a.json", event(1))
    relay.drop()
    with pytest.raises(BadFileError, match="changed while it was read"):
        handle.read(1000)
    handle.close()


def test_a_connection_that_drops_again_and_again_makes_a_bad_file(
    place: Workplace, server: SftpServer, relay: Relay
) -> None:
    path = place.write("a.json", *(event(n) for n in range(20_000)))
    found = source(server, relay, path)
    (item,) = found.files("")
    relay.cut_after = [SIGNED_IN_BYTES] * 9
    with pytest.raises(BadFileError, match=r"a\.json broke off 5 times at byte 0"):
        found.open(item, 0).read(1_000_000)


def test_a_folder_with_a_name_that_is_not_utf_8_is_told(place: Workplace, server: SftpServer, relay: Relay) -> None:
    place.write("caf\udce9.json", event(1))
    with pytest.raises(StorageError, match="holds a name that is not UTF-8"):
        list(source(server, relay, f"{place.data}/").files(""))
