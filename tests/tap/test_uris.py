"""What a URI means: file, prefix or glob; which keys belong to it; what of it may be told."""

from __future__ import annotations

import typing as t

import pytest

from tap_coolafile.exceptions import SettingError
from tap_coolafile.selection import patterns_of
from tap_coolafile.uris import allowed, parse, redacted

if t.TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("glob", "key", "matches"),
    [
        ("a/*.json", "a/x.json", True),
        ("a/*.json", "a/b/x.json", False),
        ("a/**/*.json", "a/x.json", True),
        ("a/**/*.json", "a/b/c/x.json", True),
        ("a/**.json", "a/b/x.json", True),
        ("a/?.json", "a/x.json", True),
        ("a/?.json", "a/xy.json", False),
        ("a/[xy].json", "a/y.json", True),
        ("a/[!xy].json", "a/y.json", False),
        ("a/[!xy].json", "a/z.json", True),
        ("a/[0-9]*.json", "a/7up.json", True),
        ("a/[[]1].json", "a/[1].json", True),
        ("a/[[]1].json", "a/1.json", False),
        ("a/x+(1).json", "a/x+(1).json", True),
        ("a/x.jso", "a/x.json", False),
    ],
)
def test_a_glob_matches_as_documented(glob: str, key: str, *, matches: bool) -> None:
    assert parse(f"s3://bucket/{glob}").matches(key) is matches


def test_a_prefix_ends_in_a_slash_and_a_bucket_alone_is_one() -> None:
    assert parse("s3://bucket/in/").kind == "prefix"
    assert parse("s3://bucket").kind == "prefix"
    assert parse("s3://bucket/in").kind == "file"


def test_the_literal_beginning_of_a_glob_narrows_its_listing() -> None:
    assert parse("s3://bucket/events/2024-*/x.json").literal == "events/2024-"


def test_a_local_path_may_be_relative_or_a_file_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse("a b/x.json").path == f"{tmp_path}/a b/x.json"
    assert parse(f"file://{tmp_path}/a%20b/x.json").path == f"{tmp_path}/a b/x.json"
    assert parse("a b").kind == "prefix"


def test_a_file_whose_name_looks_like_a_glob_is_found_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "[1].json"
    path.touch()
    assert parse(str(path)).kind == "file"


def test_a_file_uri_of_another_host_is_refused() -> None:
    with pytest.raises(SettingError, match="another host"):
        parse("file://server/x.json")


@pytest.mark.parametrize("uri", ["https://host/a/*.json", "https://host/in/", "https://host"])
def test_what_cannot_be_listed_takes_one_file_alone(uri: str) -> None:
    with pytest.raises(SettingError, match="cannot be listed"):
        parse(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http:///a.json",
        "https://geheim:port/a.json",
        "http://[geheim/a.json",
        "https://ge heim/a.json",
        "sftp://h:x/a/",
    ],
)
def test_a_uri_without_a_usable_host_and_port_is_refused_with_what_is_expected(uri: str) -> None:
    with pytest.raises(
        SettingError, match=r"^uris: .* has no usable host or port; expected .*://host:port/path$"
    ) as why:
        parse(uri)
    assert "geheim" not in str(why.value)


@pytest.mark.parametrize("uri", ["a/\ud800.json", "s3://bucket/\udce9.json", "https://host/\udce9.json"])
def test_a_uri_that_is_no_text_is_refused(uri: str) -> None:
    with pytest.raises(SettingError, match="not UTF-8"):
        parse(uri)


def test_an_s3_uri_without_a_bucket_is_refused() -> None:
    with pytest.raises(SettingError, match="names no bucket"):
        parse("s3:///a.json")


@pytest.mark.parametrize("uri", ["s3://AKIA:hush@bucket/a.json", "s3://AKIA:hu/sh@bucket/a.json"])
def test_keys_within_an_s3_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(SettingError, match="aws_secret_access_key") as refusal:
        parse(uri)
    assert "hu" not in str(refusal.value).replace("bucket", "")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("gs://me:hush@bucket/a.json", "name of a bucket"),
        ("azure://container@hush/a.json", "name of a container"),
        ("azure://container/a.json?sv=1&sig=hush", "azure_sas_token"),
    ],
)
def test_what_does_not_belong_into_the_uri_of_a_bucket_is_refused_and_not_repeated(uri: str, words: str) -> None:
    with pytest.raises(SettingError, match=words) as refusal:
        parse(uri)
    assert "hush" not in str(refusal.value)


def test_a_bucket_of_google_is_the_same_by_both_of_its_schemes() -> None:
    assert parse("gcs://bucket/in/*.json").name == parse("GS://bucket/in/*.json").name == "gs://bucket/in/*.json"
    assert parse("azure://container/in/").name == "azure://container/in/"


@pytest.mark.parametrize("scheme", ["s3a", "S3N"])
def test_a_bucket_of_s3_is_the_same_by_each_of_its_schemes(scheme: str) -> None:
    found, same = parse(f"{scheme}://Bucket/in/*.json"), parse("s3://Bucket/in/*.json")
    assert (found.scheme, found.place, found.name) == (same.scheme, same.place, same.name)


def test_a_message_of_another_library_loses_its_keys_whatever_they_hold() -> None:
    assert redacted("no s3://AKIA:hu/sh@bucket/a here") == "no s3://bucket/a here"


def test_a_name_holds_neither_user_nor_signature() -> None:
    pattern = parse("https://me:geheim@host:8443/a%20b.json?X-Amz-Signature=s1&X-Amz-Date=d")
    assert pattern.name == "https://host:8443/a%20b.json"
    assert pattern.path == "/a b.json"


def test_what_a_query_says_besides_tells_files_apart_without_being_told() -> None:
    one, other = parse("https://host/a.json?id=1&sig=x"), parse("https://host/a.json?id=2&sig=x")
    assert one.name != other.name
    assert "id=1" not in one.name
    assert parse("https://host/a.json?id=1&sig=y").name == one.name


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("a.json", True),
        ("x/A.JSON", True),
        ("csv/a.json", True),
        ("a.txt", False),
        ("a.json.gz", False),
        ("my.csv.json", False),
        ("CSV.json", False),
        (".json", True),
    ],
)
def test_the_name_rule_looks_at_the_base_name(path: str, *, fits: bool) -> None:
    assert allowed(path) is fits


def test_compressed_files_are_allowed_on_demand() -> None:
    assert allowed("a.json.gz", compressed=True)


def test_a_message_of_a_library_loses_users_and_queries() -> None:
    assert redacted("GET https://me:pw@host/a?sig=x failed") == "GET https://host/a?… failed"


@pytest.mark.parametrize("rest", ["h/in/", "h:22/in/a.json"])
def test_the_same_for_two_users_is_refused_and_no_password_told(rest: str) -> None:
    uris = [f"sftp://{user}@{rest}" for user in ("alice:sesame", "bob:hush")]
    with pytest.raises(SettingError, match="for two users, alice and bob, ") as caught:
        patterns_of(uris, parse, compressed=False)
    assert "sesame" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert f"sftp://{rest}" in str(caught.value)
    once = [uris[0], uris[0], f"sftp://alice@{rest}", f"sftp://bob@other.{rest}"]
    assert len(patterns_of(once, parse, compressed=False)) == 2
