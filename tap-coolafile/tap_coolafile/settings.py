"""The tap's settings, declared once: name, type, default and the reason for it.

The declarations are also the JSON schema behind `--about`, and what README's table is made from. In go values as users
give them, JSON or texts (environments hand over everything as text, and so does Meltano where a setting has no kind);
out come values of the types declared. Refuses what is not of its type without quoting it: it may be a secret.
"""

from __future__ import annotations

import os
import re
import typing as t

import msgspec
from singer_sdk import typing as th
from singer_sdk.plugin_base import JSONSchemaValidator

from tap_coolafile.configuration import Settings, load
from tap_coolafile.exceptions import SettingError

__all__ = ["CONFIG_SCHEMA", "ENV_PREFIX", "Settings", "from_environment", "load", "normalise", "problems"]

ENV_PREFIX = "TAP_COOLAFILE_"
_PROPERTY_TYPES = ("string", "number", "integer", "boolean")


def _choice(*values: str) -> th.StringType:
    return th.StringType(allowed_values=list(values))


_DECLARED = th.PropertiesList(
    th.Property(
        "uris",
        th.AnyOf(th.StringType, th.ArrayType(th.StringType)),
        required=True,
        description="What to read: one URI, or an array of them; each a file, a prefix ending in `/`, or a glob "
        "(`*` stops at `/`, `**` crosses it, `[[]` is a bracket). Local paths are relative to the working directory.",
    ),
    th.Property(
        "stream_name",
        th.StringType,
        default="events",
        description="Name of the one Singer stream. `events` because that is what CoolaData calls its rows.",
    ),
    th.Property("aws_access_key_id", th.StringType, secret=True, description="Access key of a private bucket."),
    th.Property(
        "aws_secret_access_key",
        th.StringType,
        secret=True,
        description="Secret key of a private bucket. With neither key nor profile, boto3's own chain is asked.",
    ),
    th.Property(
        "aws_session_token",
        th.StringType,
        secret=True,
        description="Session token that came with temporary keys.",
    ),
    th.Property("aws_profile", th.StringType, description="Named profile of the shared AWS configuration files."),
    th.Property(
        "aws_role_arn",
        th.StringType,
        description="Role to assume before any call to the storage, so that the pipeline's own rights reach nothing.",
    ),
    th.Property(
        "aws_external_id",
        th.StringType,
        secret=True,
        description="External id the role's owner asks for; used only with `aws_role_arn`.",
    ),
    th.Property("aws_region", th.StringType, description="Region of the bucket, where the AWS chain does not know it."),
    th.Property(
        "aws_endpoint_url",
        th.StringType,
        description="Address of an S3-compatible server; unset, AWS itself.",
    ),
    th.Property(
        "aws_anonymous",
        th.BooleanType,
        default=False,
        description="Send S3 requests unsigned, for public buckets. False: a bucket is private until someone says not.",
    ),
    th.Property(
        "transport_params",
        th.ObjectType(additional_properties=True),
        default={},
        secret=True,
        description="Object handed as it is to smart_open for schemes other than s3, http(s) and local. Empty: "
        "smart_open's defaults.",
    ),
    th.Property(
        "start_date",
        th.DateTimeType,
        description="Read no file last modified before this time (ISO 8601; UTC where no zone is given).",
    ),
    th.Property(
        "lookback_hours",
        th.IntegerType(minimum=0),
        default=24,
        description="How far behind the last pass files are still compared one by one, so that one which becomes "
        "visible late is not lost. 24 covers an upload of a day.",
    ),
    th.Property(
        "on_changed_file",
        _choice("append", "reload", "skip", "fail"),
        default="append",
        description="What to do with a file that changed after it was read: read what was appended, read all of it "
        "again, leave it, or stop. `append` because CoolaData can neither deduplicate nor delete events.",
    ),
    th.Property(
        "allow_compressed",
        th.BooleanType,
        default=False,
        description="Also read `.json.gz`. False because CoolaData's page allows the ending `.json` alone.",
    ),
    th.Property(
        "time_zone",
        th.StringType,
        default="UTC",
        description="IANA zone of times written without one. UTC because CoolaData stores and shows times in UTC.",
    ),
    th.Property(
        "empty_as_null",
        th.BooleanType,
        default=True,
        description='Leave out properties whose value is `""`. True because CoolaData\'s page says a null field is '
        "left empty.",
    ),
    th.Property(
        "on_invalid_row",
        _choice("quarantine", "skip", "fail"),
        default="quarantine",
        description="Keep an invalid row in `rejects_path`, only count it, or stop the run. `quarantine` because "
        "nothing read should be lost.",
    ),
    th.Property(
        "max_invalid_percent",
        th.IntegerType(minimum=0, maximum=100),
        default=10,
        description="Percentage of invalid rows above which a file with at least 100 of them is a bad file. 10: more "
        "is a wrong file rather than a few broken rows.",
    ),
    th.Property(
        "on_bad_file",
        _choice("continue", "stop"),
        default="continue",
        description="After a bad file go on with the others, or stop there; the run exits 1 in both cases. "
        "`continue` because one bad file should not hold back the good ones.",
    ),
    th.Property(
        "rejects_path",
        th.StringType,
        default="rejects/tap-coolafile",
        description="Folder, or URI smart_open can write below, for rejects. Relative to the working directory, "
        "beside Meltano's own `output/`.",
    ),
    th.Property(
        "max_row_bytes",
        th.IntegerType(minimum=1),
        default=100_000,
        description="Longest row in bytes. 100000 because CoolaData takes no event over 100 KB.",
    ),
    th.Property(
        "property_types",
        th.ObjectType(additional_properties=th.StringType(allowed_values=list(_PROPERTY_TYPES))),
        default={},
        description="Object of property name to `string`, `number`, `integer` or `boolean`: the declared type, to "
        "which values are converted where nothing is lost. Empty: types are what the rows show, and every JSON "
        "number is a `number`.",
    ),
    th.Property(
        "add_metadata_columns",
        th.BooleanType,
        default=False,
        description="Add `_sdc_source_file`, `_sdc_source_lineno` and `_sdc_source_file_mtime`. False because they "
        "would become properties of every event in CoolaData.",
    ),
    th.Property(
        "state_interval_rows",
        th.IntegerType(minimum=1),
        default=30_000,
        description="Rows between two STATE messages inside a file. 30000: a hundred CoolaData calls, under a second "
        "of work to repeat.",
    ),
    th.Property(
        "sample_rows",
        th.IntegerType(minimum=0),
        default=1000,
        description="Rows discovery reads to learn properties and types. 1000 is a few hundred kilobytes; what it "
        "misses is announced while reading.",
    ),
    th.Property(
        "prefetch_files",
        th.IntegerType(minimum=1, maximum=64),
        default=8,
        description="Files downloaded ahead while one is read. 8 hides the latency of small objects in little memory.",
    ),
    th.Property(
        "shard_count",
        th.IntegerType(minimum=1),
        description="Number of runs that share the files among them by a stable hash of their URI.",
    ),
    th.Property(
        "shard_index",
        th.IntegerType(minimum=0),
        description="Which of them this run is, from 0; unset, `JOB_COMPLETION_INDEX` or `AWS_BATCH_JOB_ARRAY_INDEX` "
        "of the environment.",
    ),
    th.Property(
        "report_path",
        th.StringType,
        description="File to write the run's report to, besides the log line.",
    ),
)

CONFIG_SCHEMA: dict[str, t.Any] = _DECLARED.to_dict()
"""The declarations as JSON schema: what the SDK validates against and `--about` prints."""


def normalise(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Give each value the type its setting declares, where it came as text.

    The environment, and Meltano for a setting without a kind, hand over everything as text. An empty text means
    "not set". `uris` may be one URI, an array, or a JSON array inside a string.

    Raises:
        SettingError: a text is not of the type its setting declares.
    """
    result = {}
    for name, value in config.items():
        schema = CONFIG_SCHEMA["properties"].get(name)
        if value == "" and schema is not None:
            continue
        result[name] = _converted(name, value, schema) if schema is not None and isinstance(value, str) else value
    if isinstance(result.get("uris"), str):
        result["uris"] = _uri_list(result["uris"])
    return result


def problems(config: dict[str, t.Any], schema: dict[str, t.Any]) -> list[str]:
    """Check `config` against the JSON schema, filling in defaults; say what is wrong without quoting a value."""
    found = []
    for error in JSONSchemaValidator(schema).iter_errors(config):
        where = ".".join(str(step) for step in error.absolute_path)
        if error.validator == "required":
            found.append(f"{error.message.split(' ', 1)[0].strip(chr(39))} is required and not set")
        else:
            expected = _expected(error.schema)
            found.append(f"{where} has a value that cannot be used; {expected}")
    return found


def from_environment(schema: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Read every setting of `schema` that stands in the environment, as text still, for `normalise`."""
    names = {name: ENV_PREFIX + name.upper().replace("-", "_") for name in schema["properties"]}
    found = {name: os.environ[variable] for name, variable in names.items() if variable in os.environ}
    # Settings that the SDK declares (stream maps, flattening) are converted by their own schema here.
    return {
        name: _converted(name, value, schema["properties"][name]) if value != "" else value
        for name, value in found.items()
    }


def _converted(name: str, value: str, schema: t.Mapping[str, t.Any]) -> t.Any:
    kinds = schema.get("type", "string")
    if "integer" in kinds:
        if not re.fullmatch(r"\s*-?[0-9]+\s*", value):
            msg = f"{name} is not a whole number; give digits only"
            raise SettingError(msg)
        return int(value)
    if "boolean" in kinds:
        truth = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if value.strip().lower() not in truth:
            msg = f"{name} is neither true nor false"
            raise SettingError(msg)
        return truth[value.strip().lower()]
    if "object" in kinds:
        try:
            return msgspec.json.decode(value, type=dict[str, t.Any])
        except msgspec.MsgspecError:
            msg = f"{name} is not a JSON object"
            raise SettingError(msg) from None
    return value


def _expected(schema: t.Mapping[str, t.Any]) -> str:
    if "enum" in schema:
        return "it is one of " + ", ".join(str(value) for value in schema["enum"] if value is not None)
    kinds = schema.get("type", "string or array of strings")
    words = kinds if isinstance(kinds, str) else " or ".join(kind for kind in kinds if kind != "null")
    limits = [
        f"{word} {schema[key]}" for key, word in (("minimum", "at least"), ("maximum", "at most")) if key in schema
    ]
    return f"expected {words}" + (f", {' and '.join(limits)}" if limits else "")


def _uri_list(value: str) -> list[t.Any]:
    """Read one string as a URI, or as a JSON array of them; a glob may begin with a bracket too."""
    if value.lstrip().startswith("["):
        try:
            return msgspec.json.decode(value, type=list[str])
        except msgspec.MsgspecError:
            pass
    return [value]
