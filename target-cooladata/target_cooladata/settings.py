"""The settings of target-cooladata, declared once.

`SCHEMA` is the JSON Schema behind `--config`, `--about`, the README table, `meltano.yml` and `.env.example`. `parse`
takes the configuration as the SDK hands it over and gives one typed `Settings`; what it refuses, it refuses with
the name of the setting, what was expected, and never the value of a secret.
"""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec
from singer_sdk import typing as th

from target_cooladata.exceptions import SettingsError

MAX_EVENTS_PER_CALL = 300  # CoolaData REST page: at most 300 events a call
SANDBOX_PREFIX = "sandbox:"
API_URL = "https://api.cooladata.com"  # CoolaData REST page

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# The key is one segment of the URL path; every public sample is 32 of [a-z0-9], but no page fixes that.
_APP_KEY = re.compile(r"[A-Za-z0-9._~-]+")


def _setting(name: str, kind: t.Any, description: str, *, title: str, **more: t.Any) -> th.Property[t.Any]:
    return th.Property(name, kind, title=title, description=description, **more)


SCHEMA: dict[str, t.Any] = th.PropertiesList(
    _setting(
        "app_key",
        th.StringType,
        "The project's app key (Project settings / Tracking page). Needed unless events go to the sandbox.",
        title="App key",
        secret=True,
    ),
    _setting(
        "endpoint_url",
        th.StringType,
        "Where events go. `sandbox:PATH` starts the local sandbox on that database; plain http only on loopback.",
        title="Endpoint URL",
        default=API_URL,  # the one host that the REST page names
    ),
    _setting(
        "api_version",
        th.StringType,
        "The version in the path of the tracking API.",
        title="API version",
        allowed_values=["v3", "v2", "v1"],
        default="v3",  # the one that is documented
    ),
    _setting(
        "payload_encoding",
        th.StringType,
        "The body of a call: `raw` is the percent-encoded JSON alone, `data` a form field of that name.",
        title="Payload encoding",
        allowed_values=["raw", "data"],
        default="raw",  # as the REST page and the known v3 clients; the v1 trackers use `data`
    ),
    _setting(
        "streams",
        th.CustomType({"type": ["object", "array", "string", "null"], "items": {"type": "object"}}),
        "How a stream's records become events: an object by stream name, or a list whose items have `stream`. "
        "Keys: `event_name`, `event_name_property`, `user_id_property`, `event_time_property`, "
        "`user_properties`, `session_properties`.",
        title="Streams",
    ),
    _setting(
        "event_time_fallback",
        th.StringType,
        "For a record without a time: refuse it, take the time it was extracted at, or leave it to a project that "
        "overrides with server time.",
        title="Event time fallback",
        allowed_values=["reject", "extracted", "server"],
        default="reject",  # a made-up time in a history is worse than a row in the rejects file
    ),
    _setting(
        "time_zone",
        th.StringType,
        "The IANA zone of times that name none.",
        title="Time zone",
        default="UTC",  # CoolaData stores and shows UTC
    ),
    _setting(
        "nested_values",
        th.StringType,
        "Objects and arrays in a record: objects flattened with `_` and arrays as JSON text, both as JSON text, or "
        "the record refused.",
        title="Nested values",
        allowed_values=["flatten", "json", "reject"],
        default="flatten",  # CoolaData takes flat events only
    ),
    _setting(
        "property_names",
        th.StringType,
        "Names that CoolaData refuses: mend them, or refuse the record.",
        title="Property names",
        allowed_values=["sanitize", "reject"],
        default="sanitize",  # one bad name would make the whole event invalid
    ),
    _setting(
        "boolean_format",
        th.StringType,
        'CoolaData has no Boolean type: send "true"/"false", 1/0, or JSON booleans.',
        title="Boolean format",
        allowed_values=["string", "integer", "native"],
        default="string",  # the documented way
    ),
    _setting(
        "batch_size_rows",
        th.IntegerType(minimum=1, maximum=MAX_EVENTS_PER_CALL),
        "Events in one call, at most.",
        title="Batch size",
        default=MAX_EVENTS_PER_CALL,
    ),
    _setting(
        "max_batch_bytes",
        th.IntegerType(minimum=1_000, maximum=30_000_000),
        "Bytes of JSON in one call, at most (before percent-encoding). A single larger event still goes, alone.",
        title="Batch bytes",
        default=1_000_000,  # no limit is documented; 300 usual events are a tenth of this
    ),
    _setting(
        "max_batch_age_seconds",
        th.IntegerType(minimum=1, maximum=3_600),
        "A batch that is not full leaves after this many seconds, also while the input is silent.",
        title="Batch age",
        default=5,
    ),
    _setting(
        "max_concurrency",
        th.IntegerType(minimum=1, maximum=256),
        "Calls under way at once, at most. How many there are adapts to what the API bears.",
        title="Concurrency",
        default=16,  # at 100 ms a call, 16 calls carry 48,000 events a second
    ),
    _setting(
        "max_requests_per_second",
        th.IntegerType(minimum=1),
        "Calls started in a second, at most. Without it only the API's own answers slow the run down.",
        title="Request rate",
    ),
    _setting(
        "request_timeout_seconds",
        th.IntegerType(minimum=1, maximum=3_600),
        "How long one call may take to connect, and then to answer.",
        title="Request timeout",
        default=30,
    ),
    _setting(
        "max_retry_seconds",
        th.IntegerType(minimum=0, maximum=604_800),
        "How long one call is tried again before the run gives up; 0 means one try.",
        title="Retry time",
        default=900,  # outlasts a restart of the service; a scheduled run comes again anyway
    ),
    _setting(
        "unreadable_200",
        th.StringType,
        "An answer 200 whose body is not the JSON that CoolaData is known to send: try again, take it for "
        "delivered, or stop.",
        title="Unreadable answer",
        allowed_values=["retry", "accept", "fail"],
        default="retry",  # taking it for delivered has lost other people's events
    ),
    _setting(
        "on_reject",
        th.StringType,
        "A refused record is kept in the rejects file; then go on, or stop.",
        title="On reject",
        allowed_values=["quarantine", "fail"],
        default="quarantine",
    ),
    _setting(
        "max_reject_percent",
        th.IntegerType(minimum=0, maximum=100),
        "The run fails once at least 100 records of a stream were refused and they are more than this part of it.",
        title="Reject limit",
        default=10,
    ),
    _setting(
        "rejects_path",
        th.StringType,
        "The folder, or any URI that smart_open can write, for `<UTC date>/<run id>.json` with refused records.",
        title="Rejects path",
        default="rejects/target-cooladata",
    ),
    _setting(
        "journal_path",
        th.StringType,
        "The folder that remembers what was acknowledged after the last STATE that went out, so that a run that died "
        "does not send it again. Empty: do without.",
        title="Journal path",
        default="rejects/target-cooladata-journal",  # local and beside the rejects; it holds hashes only
    ),
    _setting(
        "report_path",
        th.StringType,
        "A file for the run's report, one JSON object. It is logged in any case.",
        title="Report path",
    ),
).to_dict()

SECRETS = frozenset(name for name, schema in SCHEMA["properties"].items() if schema.get("secret"))


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the records of one stream become events; names are those of the record's properties."""

    event_name: str | None = None
    event_name_property: str | None = None
    user_id_property: str | None = None
    event_time_property: str | None = None
    user_properties: tuple[str, ...] = ()
    session_properties: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration with its defaults filled in; times in seconds, sizes in bytes."""

    app_key: str = ""
    endpoint_url: str
    api_version: str
    payload_encoding: t.Literal["raw", "data"]
    streams: dict[str, StreamSettings] = {}
    event_time_fallback: t.Literal["reject", "extracted", "server"]
    time_zone: str
    nested_values: t.Literal["flatten", "json", "reject"]
    property_names: t.Literal["sanitize", "reject"]
    boolean_format: t.Literal["string", "integer", "native"]
    batch_size_rows: int
    max_batch_bytes: int
    max_batch_age_seconds: int
    max_concurrency: int
    max_requests_per_second: int | None = None
    request_timeout_seconds: int
    max_retry_seconds: int
    unreadable_200: t.Literal["retry", "accept", "fail"]
    on_reject: t.Literal["quarantine", "fail"]
    max_reject_percent: int
    rejects_path: str
    journal_path: str
    report_path: str | None = None

    @property
    def sandbox_path(self) -> str | None:
        """The sandbox's database, where events go to the embedded sandbox."""
        if self.endpoint_url.startswith(SANDBOX_PREFIX):
            return self.endpoint_url.removeprefix(SANDBOX_PREFIX)
        return None


def parse(config: t.Mapping[str, t.Any]) -> Settings:
    """Read a configuration that has passed `SCHEMA`.

    Raises:
        SettingsError: with one sentence for the first thing that is wrong.
    """
    known = {name: value for name, value in config.items() if name in SCHEMA["properties"] and value is not None}
    known["streams"] = _streams(known.get("streams") or {})
    settings = msgspec.convert(known, Settings)
    _check_zone(settings.time_zone)
    _check_endpoint(settings)
    return settings


def _streams(value: object) -> dict[str, StreamSettings]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            msg = (
                f"streams: expected an object or a list, or one of them as JSON text, but the text is no JSON ({error})"
            )
            raise SettingsError(msg) from None
    if isinstance(value, list):
        value = dict(_named(item) for item in value)
    if not isinstance(value, dict):
        msg = "streams: expected an object by stream name, or a list whose items have `stream`"
        raise SettingsError(msg)
    return {name: _stream(name, item) for name, item in value.items()}


def _named(item: object) -> tuple[str, dict[str, t.Any]]:
    if not isinstance(item, dict) or not isinstance(item.get("stream"), str):
        msg = "streams: each item of the list needs `stream`, the name of the stream it is for"
        raise SettingsError(msg)
    return item["stream"], {key: value for key, value in item.items() if key != "stream"}


def _stream(name: str, item: object) -> StreamSettings:
    try:
        return msgspec.convert(item, StreamSettings)
    except msgspec.ValidationError as error:
        known = ", ".join(StreamSettings.__struct_fields__)
        msg = f"streams: the mapping of {name!r} is not understood: {error}; it takes {known}"
        raise SettingsError(msg) from None


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        msg = f"time_zone: {name!r} is not an IANA time zone known here, such as UTC or Europe/Berlin"
        raise SettingsError(msg) from None


def _check_endpoint(settings: Settings) -> None:
    path = settings.sandbox_path
    if path is not None:
        if not path:
            msg = "endpoint_url: expected a path after `sandbox:`, for example sandbox:output/sandbox.db"
            raise SettingsError(msg)
    else:
        _check_url(settings.endpoint_url)
        if not settings.app_key:
            msg = "app_key: needed to load into CoolaData (Project settings / Tracking page); the sandbox needs none"
            raise SettingsError(msg)
    if settings.app_key and not _APP_KEY.fullmatch(settings.app_key):
        msg = "app_key: expected letters and digits only; check for blanks or quotes around the key"
        raise SettingsError(msg)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        msg = f"endpoint_url: expected https://HOST, http://127.0.0.1:PORT or sandbox:PATH, for example {API_URL}"
        raise SettingsError(msg)
    if parts.username or parts.query or parts.fragment:
        msg = "endpoint_url: expected scheme, host, port and path alone, without user, query or fragment"
        raise SettingsError(msg)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        msg = (
            "endpoint_url: plain http is for loopback only, because anyone on the way could read the app key and the "
            f"events; use https://{parts.hostname}"
        )
        raise SettingsError(msg)
