"""The tap's settings, declared once: name, type, default and the reason for it; storages' in settings_storages.py.

The declarations are also the JSON schema behind `--about`, and what README's table is made from. What users give is
brought to these types in texts.py, and checked in configuration.py; both are offered here too.
"""

from __future__ import annotations

import typing as t

from singer_sdk import typing as th

from tap_coolafile import texts
from tap_coolafile.configuration import Settings, load
from tap_coolafile.settings_storages import STORAGES
from tap_coolafile.texts import from_environment, problems

__all__ = ["CONFIG_SCHEMA", "Settings", "from_environment", "load", "normalise", "problems"]

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
    *STORAGES,
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
        "unwrap_rejects",
        th.BooleanType,
        default=False,
        description="Read rejects files, of this tap or of target-cooladata: the row is what `row`, `row_base64` or "
        "`record` of a line holds; any other line is taken as it stands. False: a row may have properties of these "
        "names.",
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
        "request_timeout_seconds",
        th.IntegerType(minimum=1),
        default=60,
        description="How long a server may stay silent before it is asked again, from the byte reached. 60 leaves a "
        "busy one its time.",
    ),
    th.Property(
        "prefetch_files",
        th.IntegerType(minimum=1, maximum=64),
        default=8,
        description="Files downloaded at the same time, the one being read among them; together they take 32 MiB. 8 "
        "hides the latency of small objects. Local files are read one after the other.",
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
    th.Property(
        "batch_config",
        th.ObjectType(additional_properties=True),
        description="Object as the SDK describes it (`encoding`, `storage`, `batch_size`): rows go into JSONL files "
        "that BATCH messages name. Unset: RECORD messages.",
    ),
)

CONFIG_SCHEMA: dict[str, t.Any] = _DECLARED.to_dict()
"""The declarations as JSON schema: what the SDK validates against and `--about` prints."""


def normalise(config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Give each value the type its setting declares, where it came as text; see texts.py.

    Raises:
        SettingError: a text is not of the type its setting declares.
    """
    return texts.normalise(config, CONFIG_SCHEMA["properties"])
