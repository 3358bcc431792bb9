"""A target as one writes it on the SDK's defaults, whose sink does nothing with a batch: the most generous case."""

from __future__ import annotations

import typing as t

from singer_sdk import BatchSink, Target
from singer_sdk import typing as th


class IdleSink(BatchSink):
    """Throws batches away."""

    def process_batch(self, context: dict[str, t.Any]) -> None:
        """Do nothing."""


class StockTarget(Target):
    """The target."""

    name = "target-stock"
    config_jsonschema: t.ClassVar[dict[str, t.Any]] = th.PropertiesList().to_dict()
    default_sink_class = IdleSink


if __name__ == "__main__":
    StockTarget.cli()
