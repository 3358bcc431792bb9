"""A tap as one writes it on the SDK's defaults: in go the lines of one file, out come their records."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from singer_sdk import Stream, Tap
from singer_sdk import typing as th

from benchmarks.data import PROPERTIES

_TYPES: dict[type, type[th.JSONTypeHelper[t.Any]]] = {str: th.StringType, int: th.IntegerType, float: th.NumberType}


class Events(Stream):
    """The rows of the file."""

    name = "events"

    def get_records(self, context: t.Mapping[str, t.Any] | None) -> t.Iterator[dict[str, t.Any]]:  # noqa: ARG002 - the SDK's signature
        """Read the file."""
        with Path(self.config["path"]).open(encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


class StockTap(Tap):
    """The tap."""

    name = "tap-stock"
    config_jsonschema: t.ClassVar[dict[str, t.Any]] = th.PropertiesList(
        th.Property("path", th.StringType), th.Property("shape", th.StringType)
    ).to_dict()

    def discover_streams(self) -> list[Stream]:
        """Give the one stream, with all properties of the rows."""
        kinds = PROPERTIES[self.config.get("shape", "plain")]
        declared = th.PropertiesList(*(th.Property(name, _TYPES[kind]) for name, kind in kinds.items()))
        return [Events(self, schema=declared.to_dict())]


if __name__ == "__main__":
    StockTap.cli()
