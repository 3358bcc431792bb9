"""Files in S3, or a server that speaks its protocol, through boto3: listed by pages, read by GetObject from an offset.

Listings must come in the order of keys; one in another order ends the run, since a pass that goes on after a key would
miss what the server lists before it. Every refusal of the server becomes one sentence that names the bucket, the call
that was denied, and the settings to check. A role, where one is set, is assumed before any other call.
"""

from __future__ import annotations

import typing as t

import botocore.exceptions
import botocore.parsers
import urllib3

from tap_coolafile.exceptions import SettingError, StorageError
from tap_coolafile.sources.base import FileItem
from tap_coolafile.sources.remote import Clock, Download, Patience
from tap_coolafile.sources.s3_client import client
from tap_coolafile.sources.s3_refusals import foreign, refusal

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings
    from tap_coolafile.sources.base import Handle
    from tap_coolafile.uris import Pattern

_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_AWAY = (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError)
_BROKEN = (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError, OSError)
Failure = (
    botocore.exceptions.BotoCoreError,
    botocore.exceptions.ClientError,
    botocore.parsers.ResponseParserError,
)


class S3Source:
    """Objects of one bucket that match an entry of `uris`."""

    def __init__(self, pattern: Pattern, settings: Settings) -> None:
        self._pattern = pattern
        self._clock = Clock()
        self._patience = Patience(away=_AWAY)
        self._settings = settings
        self._asked: dict[str, str] = {"Bucket": pattern.place}
        if settings.aws_requester_pays:
            self._asked["RequestPayer"] = "requester"
        try:
            self._client = client(settings)
        except Failure as error:
            raise refusal(error, "signing in", pattern.place, settings) from None
        except ValueError:  # botocore's own word for it; the setting was checked
            msg = "an endpoint is no URL; check AWS_ENDPOINT_URL and endpoint_url of the AWS environment and profile"
            raise SettingError(msg) from None

    def files(self, after: str) -> t.Iterator[FileItem]:
        """List matching objects in key order; see `Source.files`."""
        if self._pattern.kind == "file":
            yield from self._one(after)
            return
        narrowed: dict[str, t.Any] = {**self._asked, "Prefix": self._pattern.literal}
        narrowed["OptionalObjectAttributes"] = ["RestoreStatus"]
        if after:
            narrowed["StartAfter"] = after
        if self._pattern.is_flat:
            narrowed["Delimiter"] = "/"
        last = ""
        for page in self._pages(narrowed):
            for found in page.get("Contents", ()):
                key = found["Key"]
                if key < last:
                    msg = (
                        f"bucket {self._pattern.place} lists {key} after {last}, as directory buckets do, so that a "
                        f"pass in order would miss files; name its objects one by one in uris"
                    )
                    raise StorageError(msg)
                last = key
                # Some servers ignore StartAfter.
                if key > after and self._pattern.matches_object(key):
                    yield self._item(key, found["Size"], found)

    def _pages(self, narrowed: dict[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
        # Not by boto3's paginator: after a failed page it ends as if there were no more.
        while True:
            page: dict[str, t.Any] = self._call("ListBucket", lambda: self._client.list_objects_v2(**narrowed))
            self._set_clock(page)
            if "IsTruncated" not in page or (page["IsTruncated"] and "NextContinuationToken" not in page):
                raise foreign(self._pattern.place, "ListBucket")
            yield page
            if not page["IsTruncated"]:
                return
            narrowed["ContinuationToken"] = page["NextContinuationToken"]

    def open(self, item: FileItem, offset: int) -> Handle:
        """Start reading at `offset`; see `Source.open`."""
        return Download(self._connect, item, offset, _BROKEN)

    def now_ms(self) -> int:
        """Return the server's clock, as its last answer told it."""
        return self._clock.now_ms()

    def _connect(self, item: FileItem, offset: int) -> t.Any:
        """GET the object from `offset` on; return the body, not yet read."""
        if item.ends_at(offset):
            return None
        asked = {**self._asked, "Key": item.path, "IfMatch": item.etag}
        if span := item.range_from(offset):
            asked["Range"] = span
        return self._call("GetObject", lambda: self._client.get_object(**asked), item.name)["Body"]

    def _one(self, after: str) -> t.Iterator[FileItem]:
        found = self._call(
            "HeadObject",
            lambda: self._client.head_object(**self._asked, Key=self._pattern.path),
            self._pattern.name,
        )
        self._set_clock(found)
        if not {"LastModified", "ETag", "ContentLength"} <= found.keys():
            raise foreign(self._pattern.place, "HeadObject")
        if self._pattern.path > after:
            yield self._item(self._pattern.path, found["ContentLength"], found)

    def _item(self, key: str, size: int, found: dict[str, t.Any]) -> FileItem:
        mtime_ms = int(found["LastModified"].timestamp() * 1000)
        name = f"s3://{self._pattern.place}/{key}"
        archived = found.get("StorageClass") in _ARCHIVES and not _is_restored(found)
        return FileItem(name, key, size, mtime_ms, found["ETag"], archived)

    def _call(self, what: str, call: t.Callable[[], t.Any], name: str = "") -> t.Any:
        """Ask the server; its refusals become ours."""
        try:
            return self._patience.ask(call)
        except Failure as error:
            raise refusal(error, what, self._pattern.place, self._settings, name) from None

    def _set_clock(self, answer: dict[str, t.Any]) -> None:
        self._clock.set(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))


def _is_restored(found: dict[str, t.Any]) -> bool:
    """Tell whether an archived object was brought back for a while: in listings by one field, in heads by another."""
    return "RestoreExpiryDate" in found.get("RestoreStatus", ()) or 'ongoing-request="false"' in found.get(
        "Restore", ""
    )
