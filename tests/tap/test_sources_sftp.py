"""Files behind a real sshd: listed, read at an offset, and only from the server that is known."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from tap_coolafile.exceptions import BadFileError, MissingFileError, StorageError
from tap_coolafile.sources.sftp import SftpSource
from tap_coolafile.uris import parse
from tests.sftp_server import SSHD, SftpServer
from tests.tap.conftest import Workplace, checked, event

if t.TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    if not Path(SSHD).exists():
        pytest.skip("OpenSSH's server is not installed (Debian: openssh-server)")
    server = SftpServer(tmp_path_factory.mktemp("sftp") / "server")
    yield server
    server.stop()


def source(server: SftpServer, path: str, **more: t.Any) -> SftpSource:
    uri = server.url + path
    return SftpSource(parse(uri), checked(uri, **server.settings(**more)))


def test_a_folder_is_read_once_and_what_is_new_afterwards(place: Workplace, server: SftpServer) -> None:
    place.write("a b.json", *(event(n) for n in range(3000)))
    place.write("deep/é+%.json", event(3000))
    config = {"uris": f"{server.url}{place.data}/", **server.settings()}
    run = place.run(**config, add_metadata_columns=True)
    assert (run.code, run.users) == (0, [f"u{n}" for n in range(3001)]), run.log
    assert run.records[0]["_sdc_source_file"] == f"sftp://127.0.0.1:{server.port}{place.data}/a b.json"
    assert "sesame" not in run.log
    place.write("b.json", event(4000))
    assert place.sync(state=run.state, **config).users == ["u4000"]


@pytest.mark.parametrize(
    ("glob", "found"),
    [("/*.json", ["/a.json"]), ("/**/*.json", ["/a.json", "/x/b.json", "/x/y/c.json"]), ("/x/?.json", ["/x/b.json"])],
)
def test_globs_are_listed_in_order(place: Workplace, server: SftpServer, glob: str, found: list[str]) -> None:
    for name in ("a.json", "x/b.json", "x/y/c.json"):
        place.write(name, event())
    (place.data / "x" / "loop").symlink_to(place.data)
    listed = [item.path for item in source(server, f"{place.data}{glob}").files("")]
    assert [path.removeprefix(str(place.data)) for path in listed] == found
    assert [item.path for item in source(server, f"{place.data}{glob}").files(listed[0])] == listed[1:]


def test_reading_starts_at_an_offset_and_ends_at_the_listed_size(place: Workplace, server: SftpServer) -> None:
    path = place.write("a.json", *(event(n) for n in range(5000)))
    found = source(server, str(path))
    (item,) = found.files("")
    handle, data = found.open(item, 1000), b""
    while more := handle.read(100_000):
        data += more
    handle.close()
    assert data == path.read_bytes()[1000:]


def test_a_file_that_changed_or_vanished_after_it_was_listed_is_a_bad_file(
    place: Workplace, server: SftpServer
) -> None:
    path = place.write("a.json", event(1))
    found = source(server, str(path))
    (item,) = found.files("")
    place.write("a.json", event(1), event(2))
    with pytest.raises(BadFileError, match="changed"):
        found.open(item, 0)
    path.unlink()
    with pytest.raises(BadFileError, match="vanished"):
        found.open(item, 0)


@pytest.mark.parametrize("again", [b"y" * 100_000, b"y" * 200_000, b"x" * 99_000 + b"y" * 2000])
def test_a_file_written_over_while_it_is_read_is_a_bad_file(place: Workplace, server: SftpServer, again: bytes) -> None:
    path = place.write("a.json", "x" * 100_000, end="")
    found = source(server, str(path))
    (item,) = found.files("")
    handle = found.open(item, 10)
    assert handle.read(200_000) == b"x" * 99_990
    path.write_bytes(again)
    os.utime(path, (item.mtime_ms / 1000 + 5,) * 2)  # stamps of SFTP are whole seconds
    with pytest.raises(BadFileError, match="changed while it was read"):
        handle.read(10)
    handle.close()


def test_a_file_that_only_grows_or_goes_while_it_is_read_is_read_as_it_was_listed(
    place: Workplace, server: SftpServer
) -> None:
    path = place.write("a.json", "x" * 100_000, end="")
    found = source(server, str(path))
    (item,) = found.files("")
    handle = found.open(item, 0)
    with path.open("ab") as file:
        file.write(b"more")
    assert handle.read(200_000) == b"x" * 100_000
    path.unlink()  # what was read whole may go
    assert handle.read(10) == b""
    handle.close()


def test_a_missing_file_is_told(place: Workplace, server: SftpServer) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        list(source(server, f"{place.data}/none.json").files(""))


def test_a_server_that_is_not_known_is_refused(server: SftpServer, tmp_path: t.Any) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(StorageError, match="empty; add it with ssh-keyscan"):
        source(server, "/", sftp_known_hosts_path=str(tmp_path / "empty"))
    with pytest.raises(StorageError, match="check sftp_known_hosts_path"):
        source(server, "/", sftp_known_hosts_path=str(tmp_path / "none"))


def test_a_server_with_another_key_is_refused_as_an_impostor(server: SftpServer) -> None:
    server.know("stranger")
    try:
        with pytest.raises(StorageError, match="may be an impostor"):
            source(server, "/")
    finally:
        server.know("host")


def test_a_user_who_is_refused_is_told_which_settings_to_check(server: SftpServer) -> None:
    stranger = {"sftp_private_key_path": str(server.folder / "stranger"), "sftp_private_key_passphrase": None}
    with pytest.raises(StorageError, match="check the user in uris"):
        source(server, "/", **stranger)


def test_a_password_in_a_uri_is_told_nowhere(place: Workplace, server: SftpServer) -> None:
    uri = server.url.replace("@", ":geheim@") + "/nowhere.json"
    run = place.run(uris=uri, **server.settings())
    assert run.code == 1
    assert "geheim" not in run.log
    assert "geheim" not in run.text


def test_rejects_are_kept_there_with_the_taps_own_credentials(place: Workplace, server: SftpServer) -> None:
    place.write("a.json", event(1), "{broken")
    folder = place.folder / "kept" / "here"
    run = place.sync(rejects_path=f"{server.url}{folder}", **server.settings())
    assert run.users == ["u1"]
    (kept,) = folder.rglob("*.json")
    assert json.loads(kept.read_text())["row"] == "{broken"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert run.report["rejects"] == f"sftp://127.0.0.1:{server.port}{kept}"


def test_rejects_are_not_given_to_an_impostor(place: Workplace, server: SftpServer) -> None:
    place.write("a.json", event(1), "{broken")
    server.know("stranger")
    signed_in = (server.folder / "log").read_text().count("Accepted publickey")
    with pytest.raises(StorageError, match="it may be an impostor"):
        place.sync(rejects_path=f"{server.url}{place.folder}/kept", **server.settings())
    server.know("host")
    assert not (place.folder / "kept").exists()
    assert (server.folder / "log").read_text().count("Accepted publickey") == signed_in


def test_what_to_install_is_told(place: Workplace) -> None:
    log = place.without("paramiko", uris="sftp://user@127.0.0.1/in/")
    assert "sftp:// needs paramiko: pip install 'tap-coolafile[sftp]'" in log
    assert "Traceback" not in log
