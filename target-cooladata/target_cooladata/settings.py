"""The settings of target-cooladata, declared once, each default with its reason.

`SCHEMA` is the JSON Schema behind `--config`, `--about`, the README table, `meltano.yml` and `.env.example`; `Settings`
is what the rest of the target works with, made by `configuration.parse`.
"""

from __future__ import annotations

import typing as t

import msgspec
from singer_sdk import typing as th

MAX_EVENTS_PER_CALL = 300  # CoolaData REST page: at most 300 events a call
SANDBOX_PREFIX = "sandbox:"
API_URL = "https://api.cooladata.com"  # CoolaData REST page
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


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
        "batch_root",
        th.StringType,
        "The folder, or its `file://` URI, below which the files of BATCH messages are. Without it BATCH messages are "
        "refused: a message must not make the target read any file that it names. Files that have the name of one of "
        "tap-coolafile's runs are deleted once the STATE behind their events has gone out; others are left to whoever "
        "wrote them.",
        title="Batch root",
    ),
    _setting(
        "add_record_metadata",
        th.BooleanType,
        "Send the tap's `_sdc_...` properties too, as `p_sdc_...`.",
        title="Record metadata",
        default=False,  # they are about the loading, not about what the user did
    ),
    _setting(
        "run_id_property",
        th.StringType,
        "A property to add to every event, with the id of the run, to count in CoolaData what a run has loaded.",
        title="Run id property",
    ),
    _setting(
        "event_id_property",
        th.StringType,
        "A property to add to every event, with an id made of its content and its place in the source, to find "
        "repeats in CoolaData. The place is `_sdc_source_file` and `_sdc_source_lineno` if the record has them, "
        "else its number behind the input's leading STATE.",
        title="Event id property",
    ),
    _setting(
        "dry_run",
        th.BooleanType,
        "Do all but send: nothing leaves, no STATE is written, and the report estimates calls and minutes.",
        title="Dry run",
        default=False,
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
    batch_root: str | None = None
    add_record_metadata: bool
    run_id_property: str | None = None
    event_id_property: str | None = None
    dry_run: bool
    journal_path: str
    report_path: str | None = None

    @property
    def sandbox_path(self) -> str | None:
        """The sandbox's database, where events go to the embedded sandbox."""
        if self.endpoint_url.startswith(SANDBOX_PREFIX):
            return self.endpoint_url.removeprefix(SANDBOX_PREFIX)
        return None
