"""Blobs in Azurite, Microsoft's emulator: names of every kind, pages, ranges, and what the server refuses."""

from __future__ import annotations

import email.utils
import os
import re
import time
import typing as t

import pytest

from tap_coolafile.exceptions import BadFileError, MissingFileError, StorageError
from tap_coolafile.sources.azure import AzureSource
from tap_coolafile.uris import parse
from tests.azure_server import AZURITE, AzureServer
from tests.gate import Answer, Fault
from tests.tap.buckets import GLOBS, KEYS, ROWS, USERS, objects
from tests.tap.conftest import Workplace, checked, event

if t.TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    if AZURITE is None:
        pytest.skip("Azurite is not installed (the README says how)")
    server = AzureServer(tmp_path_factory.mktemp("azure"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def container(azure: AzureServer) -> str:
    azure.container("sources", {**objects(), "in/deep/": b""})
    return "sources"


def source(azure: AzureServer, uri: str, **more: t.Any) -> AzureSource:
    return AzureSource(parse(uri), checked(uri, **{**azure.settings(), **more}))


def keys(found: AzureSource, after: str = "") -> list[str]:
    return [item.path for item in found.files(after)]


def refusing(code: str, status: int = 403, **headers: str) -> Answer:
    body = f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    return Answer(status, {"x-ms-error-code": code, "Content-Type": "application/xml", **headers}, body.encode())


def test_names_of_every_kind_are_loaded_told_apart_and_read_once(
    place: Workplace, azure: AzureServer, container: str
) -> None:
    whole = place.sync(uris=f"azure://{container}/in/", **azure.settings())
    assert whole.users == [f"u{number}" for number in range(len(KEYS))]
    assert place.sync(uris=f"azure://{container}/in/", state=whole.state, **azure.settings()).records == []
    for number, key in enumerate(sorted(KEYS)):
        if "?" not in key:
            assert place.sync(uris=f"azure://{container}/{key}", **azure.settings()).users == [f"u{number}"]


def test_a_blob_matched_by_several_uris_is_read_once(place: Workplace, azure: AzureServer) -> None:
    azure.container("matched", {"in/a.json": event(1).encode(), "in/b.json": event(2).encode()})
    uris = [f"azure://matched/in/{rest}" for rest in ("b.json", "", "*.json")]
    assert place.sync(uris=uris, **azure.settings()).users == ["u2", "u1"]


def test_a_run_reads_a_container_and_the_next_one_what_is_new(place: Workplace, azure: AzureServer) -> None:
    client = azure.container("running", {"a b.json": event(1).encode(), "deep/é+%.json": event(2).encode()})
    first = place.run(uris="azure://running/", add_metadata_columns=True, **azure.settings())
    assert (first.code, first.users) == (0, ["u1", "u2"]), first.log
    assert first.records[0]["_sdc_source_file"] == "azure://running/a b.json"
    client.upload_blob("b.json", event(3))
    assert place.sync(uris="azure://running/", state=first.state, **azure.settings()).users == ["u3"]


@pytest.mark.parametrize(("glob", "found"), GLOBS)
def test_a_glob_lists_what_matches_in_order(azure: AzureServer, container: str, glob: str, found: list[str]) -> None:
    assert keys(source(azure, f"azure://{container}/{glob}")) == found


def test_a_blob_is_the_same_file_in_a_listing_and_by_its_name(azure: AzureServer, container: str) -> None:
    (listed,) = source(azure, f"azure://{container}/other/").files("")
    (named,) = source(azure, f"azure://{container}/other/x.json").files("")
    assert listed == named


def test_a_listing_is_narrowed_by_what_is_literal_and_goes_on_after_any_name(
    azure: AzureServer, container: str
) -> None:
    assert keys(source(azure, f"azure://{container}/in/a*.json"), after="in/a b.json") == sorted(KEYS)[2:4]
    assert "prefix=in%2Fa" in azure.gate.asked[-1]
    assert "delimiter=%2F" in azure.gate.asked[-1]
    assert keys(source(azure, f"azure://{container}/in/"), after="in/deep/er.json") == ["in/z.json", "in/é東.json"]
    assert "startFrom=in%2Fdeep%2Fer.json" in azure.gate.asked[-1]


def test_more_blobs_than_fit_a_page_are_all_listed(azure: AzureServer, container: str) -> None:
    azure.gate.between = lambda request, onward: onward(
        request._replace(target=re.sub("comp=list", "comp=list&maxresults=3", request.target))
    )
    # By a signature, as what is signed with a key must not be changed.
    before = len(azure.gate.asked)
    try:
        found = source(azure, f"azure://{container}/", azure_account_key=None, azure_sas_token=azure.sas())
        assert keys(found) == [*sorted(KEYS), "other/x.json"]
    finally:
        azure.gate.between = lambda request, onward: onward(request)
    assert len(azure.gate.asked[before:]) == 3


def test_a_listing_in_another_order_ends_the_run(azure: AzureServer, container: str) -> None:
    names = "".join(
        f"<Blob><Name>{name}</Name><Properties><Etag>0x1</Etag><Content-Length>1</Content-Length><BlobType>BlockBlob</BlobType>"
        f"<Last-Modified>Mon, 15 Oct 2012 04:06:30 GMT</Last-Modified></Properties></Blob>"
        for name in ("a/x.json", "a-b.json")
    )
    listing = f"<?xml version='1.0'?><EnumerationResults><Blobs>{names}</Blobs><NextMarker/></EnumerationResults>"
    azure.gate.behave(Fault("comp=list", answer=Answer(200, {"Content-Type": "application/xml"}, listing.encode())))
    with pytest.raises(StorageError, match=r"lists a-b\.json after a/x\.json, as accounts with a hierarchical"):
        keys(source(azure, f"azure://{container}/"))


def test_a_run_that_was_cut_short_goes_on_after_the_last_state(place: Workplace, azure: AzureServer) -> None:
    azure.container("resuming", {f"{n}.json": event(n).encode() for n in range(6)})
    config = {"uris": "azure://resuming/", "state_interval_rows": 1, **azure.settings()}
    whole = place.sync(**config)
    at = [place for place, message in enumerate(whole.messages) if message["type"] == "STATE"][3]
    done = [message["record"]["user_id"] for message in whole.messages[:at] if message["type"] == "RECORD"]
    before = len(azure.gate.asked)
    resumed = place.sync(state=whole.messages[at]["value"], **config)
    assert 0 < len(done) < 6
    assert done + resumed.users == whole.users
    assert any("startFrom=" in call for call in azure.gate.asked[before:])


def test_reading_starts_at_a_byte_and_ends_at_the_blobs_end(azure: AzureServer, container: str) -> None:
    (item,) = source(azure, f"azure://{container}/other/x.json").files("")
    for offset in (0, 3, item.size):
        handle = source(azure, f"azure://{container}/other/").open(item, offset)
        assert handle.read(1000) == event(100).encode()[offset:]
        assert handle.read(1000) == b""
        handle.close()


def test_a_blob_replaced_or_deleted_after_it_was_listed_is_a_bad_file(azure: AzureServer) -> None:
    client = azure.container("changing", {"a.json": b"one"})
    found = source(azure, "azure://changing/a.json")
    (item,) = found.files("")
    client.upload_blob("a.json", b"two", overwrite=True)
    with pytest.raises(BadFileError, match="changed while it was read"):
        found.open(item, 0)
    client.delete_blob("a.json")
    with pytest.raises(BadFileError, match="changed while it was read"):  # so says Azurite; Azure itself as below
        found.open(item, 0)
    azure.gate.behave(Fault("bytes=", answer=refusing("BlobNotFound", 404)))
    with pytest.raises(BadFileError, match="vanished"):
        found.open(item, 0)


def test_a_read_that_breaks_off_is_taken_up(place: Workplace, azure: AzureServer) -> None:
    azure.container("breaking", {"a.json": ROWS})
    azure.gate.behave(Fault("bytes=", breaks=700_000), Fault("bytes=", breaks=0))
    assert place.sync(uris="azure://breaking/", **azure.settings()).users == USERS


def test_a_blob_replaced_while_it_is_read_fails_loudly_and_is_read_anew(place: Workplace, azure: AzureServer) -> None:
    azure.container("replacing", {"a.json": ROWS})
    azure.gate.behave(Fault("bytes=1048576-", answer=refusing("ConditionNotMet", 412)))
    run = place.run(uris="azure://replacing/", **azure.settings())
    assert run.code == 1
    assert "changed while it was read" in run.log
    later = place.sync(uris="azure://replacing/", state=run.state, **azure.settings()).users
    assert set(run.users) | set(later) == set(USERS)


def test_a_busy_server_gets_patience(place: Workplace, azure: AzureServer) -> None:
    azure.container("busy", {"a.json": event(1).encode()})
    busy = refusing("ServerBusy", 503)
    azure.gate.behave(Fault("comp=list", answer=busy), Fault("bytes=", answer=busy))
    assert place.sync(uris="azure://busy/", **azure.settings()).users == ["u1"]


def test_archived_blobs_are_named_once_counted_and_not_fatal(place: Workplace, azure: AzureServer) -> None:
    client = azure.container("frozen", {"a.json": b"x", "b.json": event(2).encode(), "c.json": b"x"})
    for name in ("a.json", "c.json"):
        client.get_blob_client(name).set_standard_blob_tier("Archive")
    run = place.run(uris="azure://frozen/", **azure.settings())
    assert (run.code, run.users) == (0, ["u2"])
    assert run.report["files_archived"] == 2
    assert run.log.count("is archived and cannot be read") == 1
    named = place.sync(uris="azure://frozen/a.json", **azure.settings())
    assert named.report["files_archived"] == 1


def test_a_public_container_is_read_by_anybody_and_a_private_one_is_not(
    place: Workplace, azure: AzureServer, container: str
) -> None:
    azure.container("public", {"a.json": event(1).encode()}, public_access="container")
    anybody = {"azure_account_url": azure.url, "azure_anonymous": True}
    assert place.sync(uris="azure://public/", **anybody).users == ["u1"]
    with pytest.raises(StorageError, match="azure_anonymous is true, so the container must be public"):
        place.sync(uris=f"azure://{container}/", **anybody)


def test_a_connection_string_says_all(azure: AzureServer, container: str, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, words = f"azure://{container}/in/z.json", azure.connection_string()
    assert keys(AzureSource(parse(uri), checked(uri, azure_connection_string=words))) == ["in/z.json"]
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", words)
    assert keys(AzureSource(parse(uri), checked(uri))) == ["in/z.json"]


def test_a_signature_opens_what_it_allows_until_it_expires(azure: AzureServer, container: str) -> None:
    def signed(token: str) -> list[str]:
        return keys(source(azure, f"azure://{container}/other/", azure_account_key=None, azure_sas_token=token))

    assert signed(azure.sas()) == ["other/x.json"]
    assert signed("?" + azure.sas()) == ["other/x.json"]
    with pytest.raises(StorageError, match=r"\(AuthorizationFailure\): the key or signature is not valid for it"):
        signed(azure.sas(hours=-1))
    with pytest.raises(StorageError, match=r"\(AuthorizationPermissionMismatch\): the right to it is missing"):
        signed(azure.sas(listing=False))


def test_a_missing_blob_and_a_missing_container_are_told(azure: AzureServer, container: str) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        keys(source(azure, f"azure://{container}/none.json"))
    for path in ("", "none.json"):
        with pytest.raises(StorageError, match="the container does not exist; check uris and azure_account_url"):
            keys(source(azure, f"azure://no-such-container/{path}"))


def test_a_server_that_is_not_there_is_told(azure: AzureServer) -> None:
    with pytest.raises(StorageError, match="cannot be reached for List Blobs; check the account in azure_account_url"):
        keys(source(azure, "azure://container/", azure_account_url="http://127.0.0.1:9/testaccount"))


def test_a_clock_that_azure_refuses_is_told_and_the_clock_is_the_servers(azure: AzureServer, container: str) -> None:
    ahead = email.utils.formatdate(time.time() + 86_400, usegmt=True)
    azure.gate.behave(Fault("comp=list", answer=refusing("AuthenticationFailed", Date=ahead)))
    found = source(azure, f"azure://{container}/")
    with pytest.raises(StorageError, match="set the clock"):
        keys(found)
    assert abs(found.now_ms() - time.time() * 1000 - 86_400_000) < 5_000


def test_what_is_refused_ends_the_run_with_one_line_and_no_secret_is_told(
    place: Workplace, azure: AzureServer, container: str
) -> None:
    env = {**os.environ, "TAP_COOLAFILE_LOGLEVEL": "DEBUG"}
    wrong = azure.key[::-1].replace("=", "") + "=="
    run = place.run(uris=f"azure://{container}/", env=env, azure_account_url=azure.url, azure_account_key=wrong)
    assert run.code == 1
    (line,) = [line for line in run.log.splitlines() if "ERROR" in line]
    assert "List Blobs was denied (AuthorizationFailure): the key or signature is not valid for it" in line
    assert "check azure_account_key and azure_account_url" in line
    assert "Traceback" not in run.log
    assert_silent(run.log + run.text, wrong)
    signed = {"azure_account_url": azure.url, "azure_sas_token": azure.sas()}
    run = place.run(uris=f"azure://{container}/", env=env, add_metadata_columns=True, **signed)
    assert run.code == 0
    assert "DEBUG" in run.log
    assert_silent(run.log + run.text, azure.sas())


def assert_silent(said: str, *secrets: str) -> None:
    for secret in secrets:
        assert secret not in said
        assert secret.rpartition("sig=")[2] not in said
    assert "sig=" not in said
    assert "SharedKey" not in said


def test_what_to_install_is_told(place: Workplace) -> None:
    log = place.without("azure.storage.blob", uris="azure://container/")
    assert "azure:// needs azure-storage-blob: pip install 'tap-coolafile[azure]'" in log
    assert "Traceback" not in log


def test_rejects_are_kept_there_with_the_taps_own_credentials(place: Workplace, azure: AzureServer) -> None:
    client = azure.container("rejecting", {"a.json": f"{event(1)}\nnonsense".encode()})
    run = place.sync(uris="azure://rejecting/a.json", rejects_path="azure://rejecting/rejects", **azure.settings())
    assert run.users == ["u1"]
    assert [name.split("/")[0] for name in client.list_blob_names()] == ["a.json", "rejects"]
