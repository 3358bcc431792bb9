"""Objects in an emulator of Google Cloud Storage: keys of every kind, pages, ranges, and what the server refuses."""

from __future__ import annotations

import email.utils
import json
import os
import time
import typing as t

import google.auth.exceptions
import pytest

from tap_coolafile.exceptions import BadFileError, MissingFileError, SettingError, StorageError
from tap_coolafile.sources.gcs import GcsSource
from tap_coolafile.sources.gcs_refusals import refusal
from tap_coolafile.sources.refusals import Call
from tap_coolafile.uris import parse
from tests.gate import Answer, Fault
from tests.gcs_server import GcsServer, new_key
from tests.tap.buckets import GLOBS, KEYS, ROWS, USERS, objects
from tests.tap.conftest import Workplace, checked, event

if t.TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    server = GcsServer(tmp_path_factory.mktemp("gcs"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket(gcs: GcsServer) -> str:
    return gcs.bucket("sources", {**objects(), "in/deep/": b"a folder"})


@pytest.fixture(autouse=True)
def _nothing_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's library asks Google itself, in the background, from which regions an account may be used."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")


def source(gcs: GcsServer, uri: str, **more: t.Any) -> GcsSource:
    return GcsSource(parse(uri), checked(uri, **{**gcs.settings(), **more}))


def keys(found: GcsSource, after: str = "") -> list[str]:
    return [item.path for item in found.files(after)]


def test_keys_of_every_kind_are_loaded_told_apart_and_read_once(place: Workplace, gcs: GcsServer, bucket: str) -> None:
    whole = place.sync(uris=f"gs://{bucket}/in/", **gcs.settings())
    assert whole.users == [f"u{number}" for number in range(len(KEYS))]
    assert place.sync(uris=f"gcs://{bucket}/in/", state=whole.state, **gcs.settings()).records == []
    for number, key in enumerate(sorted(KEYS)):
        if "?" not in key:
            assert place.sync(uris=f"gs://{bucket}/{key}", **gcs.settings()).users == [f"u{number}"]


def test_an_object_matched_by_several_uris_is_read_once(place: Workplace, gcs: GcsServer) -> None:
    gcs.bucket("matched", {"in/a.json": event(1).encode(), "in/b.json": event(2).encode()})
    for pair in ("gs:/in/ gs:/in/*.json", "gs:/in/a.json gcs:/in/", "gcs:/in/* gs:/**"):
        uris = [uri.replace(":/", "://matched/") for uri in pair.split()]
        assert place.sync(uris=uris, **gcs.settings()).users == ["u1", "u2"]


def test_a_run_reads_a_bucket_and_the_next_one_what_is_new(place: Workplace, gcs: GcsServer) -> None:
    name = gcs.bucket("running", {"a b.json": event(1).encode(), "deep/é+%.json": event(2).encode()})
    first = place.run(uris=f"gs://{name}/", add_metadata_columns=True, **gcs.settings())
    assert (first.code, first.users) == (0, ["u1", "u2"]), first.log
    assert first.records[0]["_sdc_source_file"] == "gs://running/a b.json"
    gcs.put(name, "b.json", event(3).encode())
    assert place.sync(uris=f"gs://{name}/", state=first.state, **gcs.settings()).users == ["u3"]


@pytest.mark.parametrize(("glob", "found"), GLOBS)
def test_a_glob_lists_what_matches_in_order(gcs: GcsServer, bucket: str, glob: str, found: list[str]) -> None:
    assert keys(source(gcs, f"gs://{bucket}/{glob}")) == found


def test_a_listing_is_narrowed_by_what_is_literal_and_by_the_key_reached(gcs: GcsServer, bucket: str) -> None:
    assert keys(source(gcs, f"gs://{bucket}/in/a*.json"), after="in/a b.json") == ["in/a%20b.json", "in/a+b.json"]
    call = gcs.gate.asked[-1]
    assert "prefix=in%2Fa&" in call
    assert "startOffset=in%2Fa+b.json&" in call
    assert "delimiter=%2F" in call


def test_more_keys_than_fit_a_page_are_all_listed(gcs: GcsServer) -> None:
    name = gcs.bucket("pages", {f"{number:05}.json": b"x" for number in range(205)})
    before = len(gcs.gate.asked)
    assert len(keys(source(gcs, f"gs://{name}/"))) == 205
    assert len([call for call in gcs.gate.asked[before:] if "/o?" in call]) == 3


def test_a_run_that_was_cut_short_goes_on_after_the_last_state(place: Workplace, gcs: GcsServer) -> None:
    gcs.bucket("resuming", {f"{n}.json": event(n).encode() for n in range(6)})
    config = {"uris": "gs://resuming/", "state_interval_rows": 1, **gcs.settings()}
    whole = place.sync(**config)
    at = [place for place, message in enumerate(whole.messages) if message["type"] == "STATE"][3]
    done = [message["record"]["user_id"] for message in whole.messages[:at] if message["type"] == "RECORD"]
    before = len(gcs.gate.asked)
    resumed = place.sync(state=whole.messages[at]["value"], **config)
    assert 0 < len(done) < 6
    assert done + resumed.users == whole.users
    assert any("startOffset=" in call for call in gcs.gate.asked[before:])


def test_reading_starts_at_a_byte_and_ends_at_the_objects_end(gcs: GcsServer, bucket: str) -> None:
    (item,) = source(gcs, f"gs://{bucket}/other/x.json").files("")
    for offset in (0, 3, item.size):
        handle = source(gcs, f"gs://{bucket}/other/").open(item, offset)
        assert handle.read(1000) == event(100).encode()[offset:]
        assert handle.read(1000) == b""
        handle.close()


def test_an_object_replaced_or_deleted_after_it_was_listed_is_a_bad_file(gcs: GcsServer, bucket: str) -> None:
    gcs.put(bucket, "changing.json", b"one")
    found = source(gcs, f"gs://{bucket}/changing.json")
    (item,) = found.files("")
    gcs.put(bucket, "changing.json", b"two")
    with pytest.raises(BadFileError, match="changed while it was read"):
        found.open(item, 0)
    gcs.delete(bucket, "changing.json")
    with pytest.raises(BadFileError, match="vanished"):
        found.open(item, 0)


def test_a_read_that_breaks_off_is_taken_up_at_its_byte(place: Workplace, gcs: GcsServer) -> None:
    name = gcs.bucket("breaking", {"a.json": ROWS})
    gcs.gate.behave(Fault("alt=media", breaks=700_000))
    before = len(gcs.gate.asked)
    assert place.sync(uris=f"gs://{name}/", **gcs.settings()).users == USERS
    spans = [call.split()[-1] for call in gcs.gate.asked[before:] if "alt=media" in call]
    assert spans[0] == "-"
    assert 0 < int(spans[1].removeprefix("bytes=").removesuffix("-")) <= 700_000


def test_an_object_replaced_while_it_is_read_fails_loudly_and_is_read_anew(place: Workplace, gcs: GcsServer) -> None:
    name = gcs.bucket("replacing", {"a.json": ROWS})
    gone = Answer(412, {"Content-Type": "application/json"}, b'{"error": {"message": "conditionNotMet"}}')
    gcs.gate.behave(Fault("alt=media", breaks=700_000), Fault("bytes=", answer=gone))
    run = place.run(uris=f"gs://{name}/", **gcs.settings())
    assert run.code == 1
    assert "changed while it was read" in run.log
    later = place.sync(uris=f"gs://{name}/", state=run.state, **gcs.settings())
    assert set(run.users) | set(later.users) == set(USERS)


def test_a_busy_server_gets_patience(place: Workplace, gcs: GcsServer) -> None:
    name = gcs.bucket("busy", {"a.json": event(1).encode()})
    gcs.gate.behave(Fault("/o?", answer=Answer(503, {})), Fault("alt=media", answer=Answer(429, {})))
    assert place.sync(uris=f"gs://{name}/", **gcs.settings()).users == ["u1"]


def test_a_public_bucket_is_read_by_anybody_and_a_private_one_is_not(place: Workplace, gcs: GcsServer) -> None:
    name = gcs.bucket("public", {"a.json": event(1).encode()}, public=True)
    anybody = {"gcs_endpoint_url": gcs.gate.url, "gcs_anonymous": True}
    assert place.sync(uris=f"gs://{name}/", **anybody).users == ["u1"]
    private = gcs.bucket("private", {"a.json": event(1).encode()})
    with pytest.raises(StorageError, match="gcs_anonymous is true, so the bucket must be public"):
        place.sync(uris=f"gs://{private}/", **anybody)


def test_a_key_is_read_from_its_file_too(place: Workplace, gcs: GcsServer, bucket: str) -> None:
    (place.folder / "key.json").write_text(json.dumps(gcs.key))
    given = {"gcs_credentials_json": None, "gcs_credentials_path": str(place.folder / "key.json")}
    assert keys(source(gcs, f"gs://{bucket}/in/z.json", **given)) == ["in/z.json"]


def test_whoever_asks_pays_only_if_a_setting_says_so(gcs: GcsServer, bucket: str) -> None:
    before = len(gcs.gate.asked)
    found = source(gcs, f"gs://{bucket}/in/", gcs_user_project="payer")
    found.open(next(found.files("")), 0).close()
    assert ["userProject=payer" in call for call in gcs.gate.asked[before:] if "/token" not in call] == [True, True]


def test_a_missing_object_and_a_missing_bucket_are_told(gcs: GcsServer, bucket: str) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        keys(source(gcs, f"gs://{bucket}/none.json"))
    with pytest.raises(StorageError, match="the bucket does not exist"):
        keys(source(gcs, "gs://no-such-bucket/"))


def test_what_is_no_name_of_a_bucket_is_told(place: Workplace, gcs: GcsServer) -> None:
    for name in ("b k?", "-bk", "bk-"):
        with pytest.raises(SettingError, match="is no name of a bucket") as caught:
            place.sync(uris=f"gs://{name}/in/", **gcs.settings())
        assert name in str(caught.value)


def test_a_server_that_is_not_there_is_told(gcs: GcsServer) -> None:
    with pytest.raises(StorageError, match=r"cannot be reached for storage\.objects\.list; check gcs_endpoint_url"):
        keys(source(gcs, "gs://bucket/", gcs_endpoint_url="http://127.0.0.1:9"))


def test_a_right_that_is_missing_is_told_by_its_name(gcs: GcsServer, bucket: str) -> None:
    gcs.gate.behave(Fault("/o?", answer=Answer(403, {})))
    with pytest.raises(StorageError, match=r"storage.objects.list was denied \(HTTP 403\)"):
        keys(source(gcs, f"gs://{bucket}/"))
    owner_asks = Answer(400, {}, b'{"error": {"message": "Bucket is requester pays but no user project provided."}}')
    gcs.gate.behave(Fault("/o?", answer=owner_asks))
    with pytest.raises(StorageError, match="set gcs_user_project"):
        keys(source(gcs, f"gs://{bucket}/"))


def test_a_clock_that_google_refuses_is_told() -> None:
    # Built here, as the emulator's own clock is this machine's.
    words = "invalid_grant: Invalid JWT: Token must be a short-lived token and in a reasonable timeframe."
    told = refusal(google.auth.exceptions.RefreshError(words), Call("x", "bucket"), checked("gs://bucket/"))
    assert str(told).endswith("set the clock")


def test_the_clock_is_the_servers(gcs: GcsServer, bucket: str) -> None:
    found = source(gcs, f"gs://{bucket}/in/")
    ahead = email.utils.formatdate(time.time() + 86_400, usegmt=True)
    gcs.gate.behave(Fault("/o?", answer=Answer(200, {"Date": ahead, "Content-Type": "application/json"}, b"{}")))
    assert keys(found) == []
    assert abs(found.now_ms() - time.time() * 1000 - 86_400_000) < 5_000


def test_a_key_that_is_refused_ends_the_run_with_one_line_and_is_told_nowhere(
    place: Workplace, gcs: GcsServer, bucket: str
) -> None:
    key, _ = new_key(gcs.gate.url)
    given = {**gcs.settings(), "gcs_credentials_json": json.dumps(key)}
    env = {**os.environ, "TAP_COOLAFILE_LOGLEVEL": "DEBUG"}
    run = place.run(uris=f"gs://{bucket}/", env=env, **given)
    assert run.code == 1
    assert run.log.count("Google refuses to sign in with the credentials; check gcs_credentials_json") == 1
    assert "Traceback" not in run.log
    well = place.run(uris=f"gs://{bucket}/", env=env, add_metadata_columns=True, **gcs.settings())
    assert well.code == 0
    assert "DEBUG" in well.log
    for found in (run, well):
        for secret in (key["private_key"][40:80], gcs.key["private_key"][40:80], "ya29.", "assertion="):
            assert secret not in found.log + found.text


def test_what_to_install_is_told(place: Workplace) -> None:
    log = place.without("google.cloud.storage", uris="gs://bucket/")
    assert "gs:// needs google-cloud-storage: pip install 'tap-coolafile[gcs]'" in log
    assert "Traceback" not in log


def test_credentials_that_are_none_are_told(place: Workplace, gcs: GcsServer) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": str(place.folder), "NO_GCE_CHECK": "true"}
    run = place.run(uris="gs://bucket/", env=env)
    assert run.code == 1
    assert "bucket bucket: no credentials were found; set gcs_credentials_path" in run.log
    with pytest.raises(SettingError, match="gcs_credentials_json holds no key") as caught:
        source(gcs, "gs://bucket/", gcs_credentials_json='{"type": "service_account", "private_key": "sesame"}')
    assert "sesame" not in str(caught.value)
    with pytest.raises(SettingError, match=r"gcs_credentials_path: .* cannot be read: No such file"):
        source(gcs, "gs://bucket/", gcs_credentials_json=None, gcs_credentials_path="nowhere.json")


def test_rejects_are_kept_there_with_the_taps_own_credentials(place: Workplace, gcs: GcsServer) -> None:
    name = gcs.bucket("rejecting", {"a.json": f"{event(1)}\nnonsense".encode()})
    run = place.sync(uris=f"gs://{name}/a.json", rejects_path=f"gs://{name}/rejects", **gcs.settings())
    assert run.users == ["u1"]
    assert [key.split("/")[0] for key in gcs.objects(name)] == ["a.json", "rejects"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"gcs_anonymous": True, "gcs_credentials_path": "x"}, "choose one"),
        ({"gcs_endpoint_url": "http://storage.example"}, "plain http is for loopback only"),
        ({"gcs_endpoint_url": "storage.example"}, "is not an address"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, t.Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        checked("gs://bucket/", **given)
