"""A bucket with very many keys is listed without its listing being held."""

from __future__ import annotations

import contextlib
import http.server
import threading
import typing as t
import urllib.parse

if t.TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tap.conftest import Workplace

PAGE = 1_000
_OBJECT = (
    "<Contents><Key>in/{number:09}.json</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;{number:032x}&quot;</ETag><Size>63</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


class Listing(http.server.BaseHTTPRequestHandler):
    """Answers ListObjectsV2 with keys that it makes up as it goes, page after page."""

    protocol_version = "HTTP/1.1"
    keys = 0
    asked = 0

    def do_GET(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        start = int(query.get("continuation-token", "0"))
        type(self).asked += 1
        end = min(start + PAGE, self.keys)
        more = f"<NextContinuationToken>{end}</NextContinuationToken>" if end < self.keys else ""
        objects = "".join(_OBJECT.format(number=number) for number in range(start, end))
        body = (
            f"<ListBucketResult><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{objects}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: t.Any) -> None: ...


@contextlib.contextmanager
def bucket(keys: int) -> Iterator[tuple[str, type[Listing]]]:
    """Serve so many keys; give the server's address, and what counts the pages that were asked for."""
    handler = type("Handler", (Listing,), {"keys": keys})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


def test_a_listing_of_a_hundred_thousand_keys_takes_no_more_memory_than_one_of_two_thousand(place: Workplace) -> None:
    peaks = {}
    place.config |= {
        "uris": "s3://many/in/", "start_date": "2025-01-01", "aws_access_key_id": "a", "aws_secret_access_key": "b",
    }  # fmt: skip
    for keys in (2_000, 100_000):
        with bucket(keys) as (url, handler):
            place.config["aws_endpoint_url"] = url
            peaks[keys] = place.peak_kib()
            assert handler.asked >= keys // PAGE
    assert peaks[100_000] - peaks[2_000] < 10 << 10
