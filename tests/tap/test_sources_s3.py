"""Objects in S3: keys of every kind, pages, narrowing, ranges, and what the server refuses."""

from __future__ import annotations

import os
import typing as t

import botocore.exceptions
import pytest

from tap_coolafile.bookmarks import MAX_ARCHIVED
from tap_coolafile.exceptions import BadFileError, MissingFileError, SettingError, StorageError
from tap_coolafile.sources.s3 import S3Source
from tap_coolafile.sources.s3_refusals import refusal
from tap_coolafile.uris import parse
from tests.tap.buckets import KEYS
from tests.tap.conftest import Workplace, checked, event

if t.TYPE_CHECKING:
    from tests.object_server import ObjectServer
    from tests.s3_server import S3Server
    from tests.tap.conftest import WebServer


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    return s3.bucket("sources", {key: key.encode() for key in [*KEYS, "in/", "other/x.json"]})


def source(s3: S3Server, uri: str, **more: t.Any) -> S3Source:
    return S3Source(parse(uri), checked(uri, **{"aws_endpoint_url": s3.endpoint_url, **s3.admin.settings(), **more}))


def keys(found: S3Source, after: str = "") -> list[str]:
    return [item.path for item in found.files(after)]


def test_an_endpoint_without_a_scheme_is_told_in_one_line(place: Workplace) -> None:
    run = place.run(uris="s3://b/", aws_endpoint_url="localhost:9000")
    (line,) = run.complaints
    assert line.endswith(
        "aws_endpoint_url is not an address with http:// or https:// before it, such as https://host or http://localhost:9000"
    )
    assert run.code == 1


def test_an_endpoint_of_the_environment_that_is_no_url_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(SettingError, match="check AWS_ENDPOINT_URL"):
        S3Source(parse("s3://b/"), checked("s3://b/"))


def test_keys_of_every_kind_are_listed_in_order(s3: S3Server, bucket: str) -> None:
    assert keys(source(s3, f"s3://{bucket}/in/")) == sorted(KEYS)


def test_a_listing_goes_on_after_any_key(s3: S3Server, bucket: str) -> None:
    assert keys(source(s3, f"s3://{bucket}/in/"), after="in/deep/er.json") == ["in/z.json", "in/é東.json"]


@pytest.mark.parametrize("key", KEYS)
def test_an_object_of_any_name_is_read(s3: S3Server, bucket: str, key: str) -> None:
    found = source(s3, f"s3://{bucket}/in/")
    (item,) = [item for item in found.files("") if item.path == key]
    handle = found.open(item, 3)
    assert handle.read(1000) == key.encode()[3:]
    assert handle.read(1000) == b""
    handle.close()


def test_a_glob_without_deeper_folders_does_not_list_them(s3: S3Server, bucket: str) -> None:
    before = len(s3.requests())
    assert keys(source(s3, f"s3://{bucket}/in/a*.json")) == ["in/a b.json", "in/a%20b.json", "in/a+b.json"]
    (call,) = s3.requests()[before:]
    assert "prefix=in%2Fa&" in call
    assert "delimiter=%2F" in call


def test_more_keys_than_fit_a_page_are_all_listed(objects: ObjectServer) -> None:
    objects.put("pages", {f"{number:05}.json": b"x" for number in range(2005)})
    found = S3Source(parse("s3://pages/"), checked("s3://pages/", **objects.settings()))
    assert len(keys(found)) == 2005
    assert len(objects.requests()) == 3


def test_an_object_replaced_after_it_was_listed_is_a_bad_file(s3: S3Server, bucket: str) -> None:
    s3.s3.put_object(Bucket=bucket, Key="changing.json", Body=b"one")
    found = source(s3, f"s3://{bucket}/changing.json")
    (item,) = found.files("")
    s3.s3.put_object(Bucket=bucket, Key="changing.json", Body=b"two")
    with pytest.raises(BadFileError, match="changed while it was read"):
        found.open(item, 0)


def test_an_object_deleted_after_it_was_listed_is_a_bad_file(s3: S3Server, bucket: str) -> None:
    s3.s3.put_object(Bucket=bucket, Key="vanishing.json", Body=b"one")
    found = source(s3, f"s3://{bucket}/vanishing.json")
    (item,) = found.files("")
    s3.s3.delete_object(Bucket=bucket, Key="vanishing.json")
    with pytest.raises(BadFileError, match="vanished"):
        found.open(item, 0)


def test_an_object_in_any_storage_class_is_read(s3: S3Server, bucket: str) -> None:
    s3.s3.put_object(Bucket=bucket, Key="classes/ia.json", Body=b"x", StorageClass="STANDARD_IA")
    (item,) = source(s3, f"s3://{bucket}/classes/").files("")
    assert not item.archived


def test_an_archived_object_is_told_by_its_class(s3: S3Server, bucket: str) -> None:
    s3.s3.put_object(Bucket=bucket, Key="archive/a.json", Body=b"x", StorageClass="DEEP_ARCHIVE")
    (item,) = source(s3, f"s3://{bucket}/archive/").files("")
    assert item.archived


def test_an_archived_object_that_was_restored_is_read(objects: ObjectServer) -> None:
    objects.put("restored", {"a.json": b"x"})
    restored = "<RestoreStatus><RestoreExpiryDate>2030-01-01T00:00:00.000Z</RestoreExpiryDate></RestoreStatus>"
    objects.behave({"on": "GET /restored?", "archived": True, "extra": restored})
    (item,) = S3Source(parse("s3://restored/"), checked("s3://restored/", **objects.settings())).files("")
    assert not item.archived


def test_archived_objects_are_named_once_counted_and_not_fatal(place: Workplace, objects: ObjectServer) -> None:
    objects.put("frozen", {"a.json": b"x", "b.json": event(2).encode(), "c.json": b"x"})
    objects.behave({"on": "a.json", "status": 403, "code": "InvalidObjectState"},
                   {"on": "c.json", "status": 403, "code": "InvalidObjectState"})  # fmt: skip
    run = place.run(uris="s3://frozen/", **objects.settings())
    assert (run.code, run.users) == (0, ["u2"])
    assert run.report["files_archived"] == 2
    assert run.log.count("is archived and cannot be read") == 1
    later = place.run(uris="s3://frozen/", state=run.state, max_invalid_percent=100, **objects.settings())
    assert later.report["files_read"] == 2


def test_an_archived_object_restored_after_the_window_went_by_its_stamp_is_read(place: Workplace, s3: S3Server) -> None:
    bucket = s3.bucket("restored-later")
    s3.s3.put_object(Bucket=bucket, Key="a.json", Body=event(1).encode(), StorageClass="GLACIER")
    config: dict[str, t.Any] = {"uris": f"s3://{bucket}/a.json", "aws_endpoint_url": s3.endpoint_url}
    config |= s3.admin.settings()
    state = place.run(**config).state
    for _ in range(2):
        (kept,) = state["bookmarks"]["events"]["places"]
        kept["done_before"] = 2_000_000_000_000  # as it is weeks later, when thousands of files have come since
        later = place.run(state=state, **config)
        assert (later.code, later.users, later.report["files_archived"]) == (0, [], 1)
        assert "once it is restored, a later run reads it" in later.log
        state = later.state
    s3.s3.restore_object(Bucket=bucket, Key="a.json", RestoreRequest={"Days": 3})
    restored = place.run(state=state, **config)
    assert restored.users == ["u1"]
    again = place.run(state=restored.state, **config)
    assert (again.users, again.report["files_unchanged"]) == ([], 1)


def test_an_object_whose_listing_hid_that_it_is_archived_is_read_later_although_newer_ones_were_read_meanwhile(
    place: Workplace, objects: ObjectServer
) -> None:
    objects.put("hidden", {"old.json": event(0).encode()} | {f"{n:04}.json": event(n).encode() for n in range(1, 2100)})
    os.utime(objects.folder / "hidden" / "old.json", (1_500_000_000, 1_500_000_000))
    objects.behave({"on": "old.json", "status": 403, "code": "InvalidObjectState"})
    config = {"uris": "s3://hidden/", "lookback_hours": 0, "prefetch_files": 16, **objects.settings()}
    first = place.sync(**config)
    (kept,) = first.state["bookmarks"]["events"]["places"]
    assert kept["done_before"] > 1_500_000_000_000
    assert (len(first.users), first.report["files_archived"]) == (2099, 1)
    assert place.sync(state=first.state, **config).users == ["u0"]


def test_objects_read_before_they_were_archived_are_done_and_no_matter(place: Workplace, objects: ObjectServer) -> None:
    objects.put("aged", {"a.json": event(1).encode()})
    config = {"uris": "s3://aged/", **objects.settings()}
    state = place.sync(**config).state
    objects.behave({"on": "GET /aged?", "archived": True})
    later = place.sync(state=state, **config)
    assert (later.report["files_archived"], later.report["files_unchanged"]) == (0, 1)


def test_more_archived_objects_than_state_can_name_are_counted_and_told(
    place: Workplace, objects: ObjectServer
) -> None:
    objects.put("frozen", {f"{n:04}.json": b"x" for n in range(MAX_ARCHIVED + 7)})
    objects.behave({"on": "GET /frozen?", "archived": True, "times": 10})
    run = place.run(uris="s3://frozen/", **objects.settings())
    assert (run.code, run.report["files_archived"], run.report["files_archived_forgotten"]) == (0, MAX_ARCHIVED + 7, 7)
    assert "State has no room for 7 archived files" in run.log
    assert len(run.lines[-1]) < 60_000


def test_whoever_asks_pays_only_if_a_setting_says_so(place: Workplace, objects: ObjectServer) -> None:
    objects.put("paid", {"a.json": event(1).encode()})
    for uri in ("s3://paid/", "s3://paid/a.json"):
        for pays, said in ((True, "requester"), (False, "-")):
            before = len(objects.requests())
            place.sync(uris=uri, aws_requester_pays=pays, **objects.settings())
            calls = objects.requests()[before:]
            assert len(calls) == 2
            assert all(call.endswith(f" {said}") for call in calls)


@pytest.mark.parametrize(
    ("on", "code", "words"),
    [
        ("GET /refusing?", "RequestTimeTooSkewed", "clock differs too much"),
        ("GET /refusing/a.json", "RequestTimeTooSkewed", "clock differs too much"),
        ("GET /refusing?", "ExpiredToken", "the session token has expired"),
        ("GET /refusing/a.json", "ExpiredToken", "the session token has expired"),
        ("GET /refusing?", "AuthorizationHeaderMalformed", "another region; check aws_region"),
        ("GET /refusing?", "InvalidAccessKeyId", "the access key is not known"),
    ],
)
def test_an_answer_that_refuses_is_one_line_that_explains_it(
    place: Workplace, objects: ObjectServer, on: str, code: str, words: str
) -> None:
    objects.put("refusing", {"a.json": event(1).encode()})
    objects.behave({"on": on, "status": 403, "code": code, "times": 100})
    with pytest.raises(StorageError, match=words) as caught:
        place.sync(uris="s3://refusing/", **objects.settings())
    assert code in str(caught.value)
    assert "refusing" in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("code", ["SlowDown", "Throttling", "429", "503", "InternalError", "ServiceUnavailable"])
def test_a_server_that_asks_for_patience_again_and_again_is_told(code: str) -> None:
    # Built here, as botocore asks for a quarter of a minute before it raises this.
    error = botocore.exceptions.ClientError({"Error": {"Code": code}}, "GetObject")
    told = refusal(error, "GetObject", "bucket", checked("s3://bucket/"), "s3://bucket/a.json")
    assert isinstance(told, StorageError)
    assert "run again later" in str(told)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Signature expired: 20240101T000000Z is now earlier than 20240101T001500Z", "set the clock"),
        ("Signature not yet current: 20240101T003000Z is still later than 20240101T001500Z", "set the clock"),
        ("The request signature we calculated does not match", "the secret key does not belong to the access key"),
    ],
)
def test_a_clock_that_the_service_of_roles_refuses_is_told_from_a_wrong_key(message: str, words: str) -> None:
    # Built here, as moto takes any clock.
    error = botocore.exceptions.ClientError(
        {"Error": {"Code": "SignatureDoesNotMatch", "Message": message}}, "AssumeRole"
    )
    told = refusal(error, "signing in", "bucket", checked("s3://bucket/", aws_role_arn="arn:aws:iam::1:role/r"))
    assert words in str(told)


def test_a_server_that_asks_for_patience_gets_it(place: Workplace, objects: ObjectServer) -> None:
    objects.put("busy", {"a.json": event(1).encode()})
    objects.behave({"on": "a.json", "status": 503, "code": "SlowDown", "times": 2})
    assert place.sync(uris="s3://busy/", **objects.settings()).users == ["u1"]


def test_of_a_versioned_bucket_the_latest_versions_alone_are_read(place: Workplace, s3: S3Server) -> None:
    bucket = s3.bucket("versioned")
    s3.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for number in (1, 2):
        for key in ("a.json", "b.json"):
            s3.s3.put_object(Bucket=bucket, Key=key, Body=event(number).encode())
    s3.s3.delete_object(Bucket=bucket, Key="b.json")
    config = {"uris": f"s3://{bucket}/", "aws_endpoint_url": s3.endpoint_url, **s3.admin.settings()}
    assert place.sync(**config).users == ["u2"]


def test_keys_of_every_kind_are_loaded_and_told_apart(place: Workplace, s3: S3Server) -> None:
    bucket = s3.bucket("spelled", {key: event(number).encode() for number, key in enumerate(sorted(KEYS))})
    config = {"aws_endpoint_url": s3.endpoint_url, **s3.admin.settings()}
    whole = place.sync(uris=f"s3://{bucket}/in/", **config)
    assert whole.users == [f"u{number}" for number in range(len(KEYS))]
    assert place.sync(uris=f"s3://{bucket}/in/", state=whole.state, **config).records == []
    for number, key in enumerate(sorted(KEYS)):
        if "?" not in key:
            assert place.sync(uris=f"s3://{bucket}/{key}", **config).users == [f"u{number}"]


def test_a_missing_object_and_a_missing_bucket_are_told(s3: S3Server, bucket: str) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        keys(source(s3, f"s3://{bucket}/none.json"))
    with pytest.raises(StorageError, match="the bucket does not exist"):
        keys(source(s3, "s3://no-such-bucket/"))


def test_a_server_that_is_not_there_is_told(s3: S3Server) -> None:
    with pytest.raises(StorageError, match="aws_endpoint_url"):
        keys(source(s3, "s3://bucket/", aws_endpoint_url="http://127.0.0.1:9"))


def test_an_unknown_profile_is_told(s3: S3Server) -> None:
    with pytest.raises(StorageError, match="aws_profile"):
        source(s3, "s3://bucket/", aws_profile="nobody")


def test_the_clock_is_the_servers(s3: S3Server, bucket: str) -> None:
    found = source(s3, f"s3://{bucket}/in/")
    keys(found)
    assert found.now_ms() > 1_600_000_000_000


@pytest.mark.parametrize("uri", ["s3://bucket/in/", "s3://bucket/a.json"])
@pytest.mark.parametrize(
    ("status", "page"),
    [
        (200, b""),
        (200, b"<html><body>welcome</body></html>"),
        (200, b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"),
        (404, b"<html>nothing here"),
    ],
)
def test_a_server_that_does_not_speak_the_protocol_is_told(web: WebServer, uri: str, status: int, page: bytes) -> None:
    is_head = uri.endswith("json")
    web.files["/bucket" if not is_head else "/bucket/a.json"], web.described = page, False
    if status != 200:
        web.files.clear()
    given = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_endpoint_url": web.url}
    words = "does not exist" if is_head and status != 200 else "does not speak S3's protocol; check aws_endpoint_url"
    with pytest.raises(StorageError, match=words):
        keys(S3Source(parse(uri), checked(uri, **given)))


def test_a_listing_in_another_order_ends_the_run(objects: ObjectServer) -> None:
    objects.put("unordered", {"b.json": b"x", "a.json": b"x"})
    objects.behave({"on": "GET /unordered?", "reverse": True})
    found = S3Source(parse("s3://unordered/"), checked("s3://unordered/", **objects.settings()))
    with pytest.raises(StorageError, match=r"lists a\.json after b\.json, as directory buckets do"):
        keys(found)


def test_what_is_no_name_of_a_role_is_told_by_its_setting() -> None:
    uri = "s3://bucket/in/"
    given = checked(uri, aws_access_key_id="a", aws_secret_access_key="b", aws_role_arn="nonsense")  # noqa: S106 - none
    with pytest.raises(StorageError, match="check aws_role_arn and aws_external_id"):
        S3Source(parse(uri), given)
