"""Discovery reads a bounded beginning of the newest files."""

from __future__ import annotations

import gzip
import os
import typing as t

import pytest

from tap_coolafile.sampling import MAX_BYTES, MAX_FILES
from tap_coolafile.tap import TapCoolaFile
from tests.tap.conftest import WebServer, Workplace, event

if t.TYPE_CHECKING:
    from tests.object_server import ObjectServer
    from tests.s3_server import S3Server


def discovered(place: Workplace, **config: t.Any) -> set[str]:
    stream = TapCoolaFile(config=place.config | config).streams["events"]
    return set(stream.schema["properties"]) - {"event_name", "user_id", "event_time_ts"}


def test_properties_of_several_files_are_found(place: Workplace) -> None:
    place.write("a.json", event(1, a=1))
    place.write("b.json", event(2, b="x"), "{broken", event(3, c=True))
    assert discovered(place) == {"a", "b", "c"}


def test_the_newest_files_are_looked_at_and_no_more_rows_than_allowed(place: Workplace) -> None:
    for number in range(3):
        path = place.write(f"{number}.json", event(1, **{f"first{number}": 1}), event(2, **{f"second{number}": 1}))
        os.utime(path, (number, number))
    assert discovered(place, sample_rows=3) == {"first2", "second2", "first1"}
    assert discovered(place, sample_rows=0) == set()


def test_a_large_file_is_not_read_whole(place: Workplace, web: WebServer) -> None:
    web.files["/a.json"] = (event(1, a=1) + "\n").encode() * 200_000
    sent = len(web.files["/a.json"])
    assert discovered(place, uris=f"{web.url}/a.json") == {"a"}
    assert web.sent < sent / 2


def test_an_object_in_s3_is_sampled(place: Workplace, s3: S3Server) -> None:
    bucket = s3.bucket("sampled", {"a.json": event(1, a=1).encode()})
    found = discovered(place, uris=f"s3://{bucket}/", aws_endpoint_url=s3.endpoint_url, **s3.admin.settings())
    assert found == {"a"}


@pytest.mark.parametrize("compressed", [False, True])
def test_objects_are_asked_for_their_beginning_alone_and_for_four_megabytes_in_all(
    place: Workplace, objects: ObjectServer, *, compressed: bool
) -> None:
    # Rows that gzip cannot make smaller, so that the limit on bytes holds for what is asked too.
    lines = [event(n, **{"late" if n * 100_000 > MAX_BYTES else "soon": os.urandom(49_000).hex()}) for n in range(90)]
    content = ("\n".join(lines) + "\n").encode()
    stored = gzip.compress(content, 1) if compressed else content
    suffix = ".gz" if compressed else ""
    objects.put("large", {f"in/{name}.json{suffix}": stored for name in ("a", "b")})
    config = {"uris": "s3://large/in/", "sample_rows": 10**6, "allow_compressed": compressed}
    assert discovered(place, **config, **objects.settings()) == {"soon"}
    (asked,) = [line for line in objects.requests() if "GET /large/in/" in line]
    first, last = map(int, asked.split()[2].removeprefix("bytes=").split("-"))
    assert (first, last + 1) == (0, min(MAX_BYTES + (1 << 17), len(stored)))


def test_no_more_than_the_twenty_newest_files_are_looked_at(place: Workplace) -> None:
    for number in range(25):
        os.utime(place.write(f"{number:02}.json", event(1, **{f"p{number}": 1})), (number, number))
    assert discovered(place) == {f"p{number}" for number in range(25 - MAX_FILES, 25)}


def test_declared_types_are_in_the_catalog_without_a_row_that_shows_them(place: Workplace) -> None:
    place.write("a.json", event(1))
    stream = TapCoolaFile(config=place.config | {"property_types": {"later": "integer"}}).streams["events"]
    assert stream.schema["properties"]["later"] == {"type": ["integer", "null"]}
