"""A run in one process: messages of bytes in, calls to a client that only listens out."""

from __future__ import annotations

import io
import logging
import typing as t
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote_to_bytes

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from singer_sdk.mapper import PluginMapper

from target_cooladata.client import Kind, Outcome
from target_cooladata.configuration import parse
from target_cooladata.loader import Loader
from target_cooladata.reader import MessageReader
from target_cooladata.settings import SCHEMA
from tests.singer import APP_KEY, event, schema, state

if t.TYPE_CHECKING:
    from target_cooladata.client import Client

LOGGER = logging.getLogger(__name__)
LOGGER.setLevel(logging.CRITICAL)
IDENTITY_MAP: t.Any = {"stream_maps": {name: {"__filter__": "True"} for name in ("events", "others")}}
DEFAULTS = {name: setting["default"] for name, setting in SCHEMA["properties"].items() if "default" in setting}

_events = msgspec.json.Decoder(dict[str, list[dict[str, t.Any]]], float_hook=Decimal).decode  # 1E5 is 1E+5


class Listener:
    """A client whose API takes everything, and remembers it."""

    def __init__(self) -> None:
        self.events: list[dict[str, t.Any]] = []

    def post(self, body: bytes) -> Outcome:
        self.events += _events(unquote_to_bytes(body))["events"]
        return Outcome(Kind.DELIVERED, "delivered", 200)


class Loaded(msgspec.Struct):
    """What a run came to."""

    events: list[dict[str, t.Any]]
    rejects: list[tuple[str, str]]
    counts: dict[str, int]


def load(lines: t.Iterable[str], mapper: PluginMapper | None) -> Loaded:
    """Load messages in one run, one call at a time, so that what was sent has an order."""
    listener = Listener()
    with TemporaryDirectory() as folder:
        own = {"app_key": APP_KEY, "rejects_path": folder, "journal_path": "", "max_concurrency": 1}
        loader = Loader(
            parse(DEFAULTS | own),
            connect=lambda: t.cast("Client", listener),
            disconnect=lambda: None,
            mapper=mapper,
            logger=LOGGER,
        )
        MessageReader(loader, 1_000).process_lines(io.BytesIO("".join(lines).encode()), {})
        loader.finish()
        kept = [
            msgspec.json.decode(line)
            for file in Path(folder).rglob("*.json")
            for line in file.read_bytes().splitlines()
        ]
    fields = ("records_read", "events_delivered", "events_rejected", "records_filtered")
    return Loaded(
        events=listener.events,
        rejects=[(reject["stream"], reject["reason"]) for reject in kept],
        counts={field: loader.tally.total(field) for field in fields},
    )


# Larger floats are integers to the SDK, which makes decimals of them.
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**64), 2**64), st.floats(-1e15, 1e15),
    st.text(max_size=4), st.just([7]), st.just({"b": {"c": 1.5}}),
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "é", "a.b", "{u}c", "_sdc_x", "user_id", "event_time_ts", "event_timestamp"])
EVENTS = st.builds(
    lambda number, stream, more: event(number, stream=stream, **more),
    st.integers(0, 9), st.sampled_from(["events", "others"]), st.dictionaries(NAMES, VALUES, max_size=3),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.one_of(EVENTS, st.just(state(n=1))), max_size=20))
def test_records_at_a_glance_and_through_the_sdk_become_the_same_events(lines: list[str]) -> None:
    lines = [schema(), schema("others"), *lines]
    quick = load(lines, None)
    through_the_sdk = load(lines, PluginMapper(IDENTITY_MAP, LOGGER))
    assert quick.events == through_the_sdk.events
    assert quick.rejects == through_the_sdk.rejects
    assert quick.counts == through_the_sdk.counts
