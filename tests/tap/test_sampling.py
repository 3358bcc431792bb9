"""Discovery reads a bounded beginning of the newest files."""

from __future__ import annotations

import os
import typing as t

from tap_coolafile.tap import TapCoolaFile
from tests.tap.conftest import WebServer, Workplace, event

if t.TYPE_CHECKING:
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


def test_declared_types_are_in_the_catalog_without_a_row_that_shows_them(place: Workplace) -> None:
    place.write("a.json", event(1))
    stream = TapCoolaFile(config=place.config | {"property_types": {"later": "integer"}}).streams["events"]
    assert stream.schema["properties"]["later"] == {"type": ["integer", "null"]}
