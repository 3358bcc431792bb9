"""Seeded data: in go a number of rows, out come the same files on every machine, and what they must become.

Two shapes. `plain` rows have 290 bytes, 12 properties and integer times. `seed` rows are as on the vendor's seed page:
texts as times, under two spellings, empty fields, numbers in quotes, blanks between some tokens, and here and there
letters beyond ASCII.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ROW_BYTES = 290
_SHARED = ("event_name", "user_id", "session_id", "gender", "country", "city", "browser")
_QUOTED = ("ip", "currency", "cur_amount", "qty", "level", "rank", "membership", "referals", "social")
PROPERTIES: dict[str, dict[str, type]] = {
    "plain": dict.fromkeys((*_SHARED, "referrer"), str)
    | {"event_time_ts": int, "age": int, "price": float, "qty": int},
    "seed": dict.fromkeys((*_SHARED, *_QUOTED, "event_time_ts", "event_timestamp"), str) | {"age": int},
}
"""The properties of each shape; a tap that has to know its schema is told these."""

_SEED = 20_240_101
_START_MS = 1_704_067_200_000
_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_NAMES = ("login", "refresh", "additem", "payment", "logout", "search", "view_page", "share")
_CITIES = ("CHICAGO", "NEW YORK", "LONDON", "BERLIN", "HAIFA", "TOKYO", "LIMA")
_CITIES_BEYOND_ASCII = ("Zürich", "São Paulo", "תל אביב", "東京")
_BROWSERS = ("moz", "chrome", "safari", "edge")
_SOCIAL = ("fblike", "tweet", "", "plusone")
_HEX = "0123456789abcdef"
_STATE_EVERY = 10_000  # as the SDK's taps do


def plain_rows(count: int) -> Iterator[bytes]:
    """Yield rows of 290 bytes, without line feeds."""
    rng = random.Random(_SEED)  # noqa: S311 - the same rows each time, not secrets
    for index in range(count):
        user = f"{rng.getrandbits(96):024x}"
        row = (
            f'{{"event_name":"{rng.choice(_NAMES)}","user_id":"{user}","event_time_ts":{_START_MS + index * 37},'
            f'"session_id":"{rng.getrandbits(64):016x}","age":{18 + index % 60},"gender":"{"fm"[index % 2]}",'
            f'"country":"USA","city":"{rng.choice(_CITIES)}","browser":"{rng.choice(_BROWSERS)}",'
            f'"price":{rng.randrange(100, 99_999) / 100},"qty":{index % 9},"referrer":"https://shop.example/?q='
        )
        room = ROW_BYTES - len(row) - 2
        yield (row + f"{rng.getrandbits(4 * room):0{room}x}" + '"}').encode()


def seed_rows(count: int) -> Iterator[bytes]:
    """Yield rows of the seed page's shape, without line feeds."""
    rng = random.Random(_SEED)  # noqa: S311 - as above
    for index in range(count):
        when = (_START + dt.timedelta(seconds=index)).strftime("%Y-%m-%d %H:%M:%S")
        city = rng.choice(_CITIES_BEYOND_ASCII if index % 20 == 0 else _CITIES)
        spelling = "event_timestamp" if index % 4 == 1 else "event_time_ts"
        name = rng.choice(_NAMES)
        row = (
            f'{{"user_id": "{rng.getrandbits(96):024x}","age":{18 + index % 60},"gender":"f", '
            f'"session_id": "{rng.getrandbits(96):024x}", "{spelling}":"{when}", "event_name":"{name}","ip":"",'
            f'"country":"USA","city":"{city}","browser":"{rng.choice(_BROWSERS)}",'
        )
        if name == "payment":
            row += f'"currency":"usd","cur_amount":"{rng.randrange(1, 500)}","qty":"1","level":"3","rank":"novice",'
        row += f'"membership":"gold","referals":"{rng.randrange(9)}","social":"{rng.choice(_SOCIAL)}"}}'
        yield row.encode()


ROWS: dict[str, t.Callable[[int], Iterator[bytes]]] = {"plain": plain_rows, "seed": seed_rows}


def expected_record(row: bytes) -> dict[str, t.Any]:
    """Say what a tap must make of a row of either shape: no empty fields, one time, in milliseconds."""
    found = {name: value for name, value in json.loads(row).items() if value != ""}
    when = found.pop("event_time_ts", None) or found.pop("event_timestamp", None)
    if isinstance(when, str):
        when = int(dt.datetime.fromisoformat(f"{when}+00:00").timestamp()) * 1000
    return {**found, "event_time_ts": when}


def expected_event(row: bytes) -> dict[str, t.Any]:
    """Say what CoolaData must get of a row."""
    event = expected_record(row)
    event["event_timestamp_epoch"] = event.pop("event_time_ts")
    return event


def write_rows(path: Path, rows: Iterable[bytes]) -> Path:
    """Write a file of rows."""
    with path.open("wb") as file:
        for chunk in _chunks(rows):
            file.write(b"\n".join(chunk) + b"\n")
    return path


def write_files(folder: Path, count: int, rows_each: int) -> Path:
    """Write many small files of plain rows."""
    folder.mkdir(parents=True)
    rows = plain_rows(count * rows_each)
    for index in range(count):
        write_rows(folder / f"{index:05}.json", itertools.islice(rows, rows_each))
    return folder


def write_messages(path: Path, count: int) -> Path:
    """Write plain rows as the Singer messages of a stock tap: SCHEMA, RECORD, a STATE every 10,000 records."""
    names = {str: "string", int: "integer", float: "number"}
    properties = {name: {"type": [names[kind], "null"]} for name, kind in PROPERTIES["plain"].items()}
    schema = {"type": "SCHEMA", "stream": "events", "key_properties": []}
    schema["schema"] = {"type": "object", "properties": properties}  # type: ignore[assignment]  # a JSON object
    head, tail = b'{"type":"RECORD","stream":"events","record":', b',"time_extracted":"2024-01-01T00:00:00+00:00"}\n'
    rows = plain_rows(count)
    with path.open("wb") as file:
        file.write(_line(schema) + _line(_state(0)))
        done = 0
        while chunk := list(itertools.islice(rows, _STATE_EVERY)):
            done += len(chunk)
            file.write(head + (tail + head).join(chunk) + tail + _line(_state(done)))
    return path


def _state(rows: int) -> dict[str, t.Any]:
    return {"type": "STATE", "value": {"bookmarks": {"events": {"rows": rows}}}}


def _line(message: dict[str, t.Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _chunks(rows: Iterable[bytes]) -> Iterator[list[bytes]]:
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, 10_000)):
        yield chunk
