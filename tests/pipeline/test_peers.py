"""Our tap in front of other people's targets, each from the package registry and configured as its own page says."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import typing as t
from decimal import Decimal

import psycopg
import pytest

from tests.commands import Finished, run, write_config

if t.TYPE_CHECKING:
    from pathlib import Path

RunTap = t.Callable[..., Finished]
WriteRows = t.Callable[..., "Path"]

SETTINGS = {"property_types": {"order_number": "integer"}}  # 19 digits do not fit into the double of a `number`
FIRST = [
    '{"user_id":"PU4U","age":21,"event_time_ts":"2012-10-15 04:06:30","event_name":"login","ip":"","referals":"2"}',
    '{"user_id":"u2","event_time_ts":1350273995000,"event_name":"view","seconds":1,"text":"größe 京 \\" \\\\ \\u00e9"}',
    '{"user_id":"u3","event_time_ts":1350274000000,"event_name":"buy","order_number":9223372036854775807,"paid":true}',
    '{"user_id":"u4","event_time_ts":1350274005000,"event_name":"move","{u}city":"NY","Mixed_Case":-0.5,"big":1E5}',
]
SECOND = ['{"user_id":"u5","event_time_ts":1350274010000,"event_name":"view","seconds":1.5,"later":"new"}']
EXPECTED: list[dict[str, t.Any]] = [
    {"user_id": "PU4U", "age": 21, "event_time_ts": 1350273990000, "event_name": "login", "referals": "2"},
    {"user_id": "u2", "event_time_ts": 1350273995000, "event_name": "view", "seconds": 1, "text": 'größe 京 " \\ é'},
    {"user_id": "u3", "event_time_ts": 1350274000000, "event_name": "buy", "order_number": 2**63 - 1, "paid": True},
    {
        "user_id": "u4", "event_time_ts": 1350274005000, "event_name": "move", "{u}city": "NY", "Mixed_Case": -0.5,
        "big": 100000,
    },
    {"user_id": "u5", "event_time_ts": 1350274010000, "event_name": "view", "seconds": 1.5, "later": "new"},
]  # fmt: skip


@pytest.fixture
def load_twice(rows: WriteRows, run_tap: RunTap, tmp_path: Path) -> t.Callable[..., None]:
    """Load two files in two runs, the second from the state that the target printed in the first."""

    def load(target: Path, flag: str, more: t.Mapping[str, t.Any] | None = None, **config: t.Any) -> None:
        settings = {**SETTINGS, **(more or {})}
        folder = tmp_path / "target"
        folder.mkdir()
        path = write_config(folder, **config)
        state = None
        for name, lines in (("a.json", FIRST), ("b.json", SECOND)):
            rows(name, *lines)
            tap = run_tap(state, **settings)
            assert tap.code == 0, tap.stderr
            done = run(target, flag, path, stdin=tap.stdout, cwd=folder)
            assert done.code == 0, done.stderr
            state = done.states[-1]
        again = run_tap(state, **settings)
        assert [message["type"] for message in again.messages if message["type"] == "RECORD"] == []

    return load


def without_nulls(row: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {
        name: float(value) if isinstance(value, Decimal) else value for name, value in row.items() if value is not None
    }


def test_target_jsonl_gets_every_row_and_value(
    load_twice: t.Callable[..., None], install: t.Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    load_twice(install("target-jsonl") / "target-jsonl", "-c", destination_path=str(out))
    lines = [json.loads(line) for path in sorted(out.glob("events*.jsonl")) for line in path.read_text().splitlines()]
    assert lines == EXPECTED


def test_target_duckdb_gets_every_row_and_value(
    load_twice: t.Callable[..., None], install: t.Callable[..., Path], tmp_path: Path
) -> None:
    commands = install("target-duckdb")
    database = tmp_path / "events.duckdb"
    load_twice(
        commands / "target-duckdb", "-c", path=str(database), default_target_schema="main", primary_key_required=False
    )
    # Read by that environment, which has the driver; as JSON, exact for 64-bit integers.
    query = (
        "import duckdb, json, sys; c = duckdb.connect(sys.argv[1]);"
        "c = c.execute('select * from main.events order by event_time_ts');"
        "names = [d[0] for d in c.description]; print(json.dumps([dict(zip(names, row)) for row in c.fetchall()]))"
    )
    done = subprocess.run([commands / "python", "-c", query, database], capture_output=True, text=True, check=True)
    stored = [without_nulls(row) for row in json.loads(done.stdout)]
    # DuckDB's names ignore case, and this target writes them in lower case.
    assert stored == [{name.lower(): value for name, value in row.items()} for row in EXPECTED]


@pytest.mark.parametrize("compression", [None, "none", "gzip"])
def test_target_postgres_gets_every_row_and_value_as_records_and_in_batch_files(
    load_twice: t.Callable[..., None],
    install: t.Callable[..., Path],
    postgres: str,
    tmp_path: Path,
    compression: str | None,
) -> None:
    encoding = {"format": "jsonl", "compression": compression}
    batches = {"encoding": encoding, "storage": {"root": (tmp_path / "batches").as_uri()}}
    target = install("meltanolabs-target-postgres") / "target-postgres"
    url = postgres.replace("postgresql://", "postgresql+psycopg://")
    more = {"batch_config": batches} if compression else {}
    load_twice(target, "--config", more, sqlalchemy_url=url, default_target_schema="public")
    assert (tmp_path / "batches").exists() == bool(compression)
    with psycopg.connect(postgres, row_factory=psycopg.rows.dict_row) as connection:
        stored = connection.execute("select * from public.events order by event_time_ts").fetchall()
        connection.execute("drop table public.events")
    columns = {name.lower(): name for row in EXPECTED for name in row}
    found = [
        {columns.get(name.lower(), name): value for name, value in without_nulls(row).items() if name[:5] != "_sdc_"}
        for row in stored
    ]
    assert found == EXPECTED


def test_the_sandbox_is_a_plain_sqlite_database(tmp_path: Path) -> None:
    """What the README says about looking into it."""
    database = tmp_path / "sandbox.db"
    config = write_config(tmp_path, endpoint_url=f"sandbox:{database}", rejects_path=str(tmp_path / "rejects"))
    assert run("target-cooladata", "--config", config).code == 0
    with sqlite3.connect(database) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    connection.close()
