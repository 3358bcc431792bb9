"""Other people's taps in front of our target, run for real against real servers."""

from __future__ import annotations

import json
import typing as t
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
import pytest

from tests.commands import Finished, run, write_config
from tests.s3_server import S3Server
from tests.singer import APP_KEY

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer

STREAM = {"event_name": "order", "user_id_property": "customer_id", "event_time_property": "created_at"}


@pytest.fixture
def load(sandbox: SandboxServer, tmp_path: Path) -> t.Callable[..., Finished]:
    """Load a tap's output with a mapping for one stream."""

    def target(messages: str, **settings: t.Any) -> Finished:
        folder = tmp_path / "target"
        folder.mkdir(exist_ok=True)
        usual = {
            "endpoint_url": sandbox.url, "app_key": APP_KEY, "rejects_path": str(folder / "rejects"),
            "journal_path": str(folder / "journal"),
        }  # fmt: skip
        return run("target-cooladata", "--config", write_config(folder, **usual, **settings), stdin=messages)

    return target


def select_all(catalog: str) -> str:
    """Select every stream and property of a catalog, as that tap's page says."""
    found = json.loads(catalog)
    for stream in found["streams"]:
        for entry in stream["metadata"]:
            entry["metadata"]["selected"] = True
    return json.dumps(found)


def test_a_csv_tap_on_s3_loads(
    load: t.Callable[..., Finished], install: t.Callable[..., Path], sandbox: SandboxServer, tmp_path: Path
) -> None:
    rows = "id,customer_id,created_at,total,note\n" + "".join(
        f"{number},c{number},2012-10-15T04:06:{number:02d}Z,{number}.50,{'größe' if number % 2 else ''}\n"
        for number in range(10)
    )
    server = S3Server(tmp_path)
    try:
        server.bucket("shop", {"exports/orders.csv": rows.encode()})
        tap = install("pipelinewise-tap-s3-csv") / "tap-s3-csv"
        config = write_config(
            tmp_path, **server.admin.settings(), aws_endpoint_url=server.endpoint_url, bucket="shop",
            start_date="2000-01-01T00:00:00Z",
            tables=[{
                "search_prefix": "exports", "search_pattern": "\\.csv$", "table_name": "orders",
                "key_properties": ["id"], "delimiter": ",",
            }],
        )  # fmt: skip
        discovered = run(tap, "--config", config, "--discover")
        (tmp_path / "catalog.json").write_text(select_all(discovered.stdout))
        messages = run(tap, "--config", config, "--properties", tmp_path / "catalog.json")
    finally:
        server.stop()
    assert messages.code == 0, messages.stderr
    done = load(messages.stdout, streams={"orders": STREAM})
    assert done.code == 0, done.stderr
    events = sandbox.events("valid")
    assert len(events) == 10
    assert {name: events[3][name] for name in ("event_name", "user_id", "event_timestamp_epoch", "total", "note")} == {
        "event_name": "order", "user_id": "c3", "event_timestamp_epoch": 1350273963000, "total": "3.50",
        "note": "größe",
    }  # fmt: skip
    assert not any(name.startswith(("_", "p_sdc")) for event in events for name in event)
    assert done.states[-1]["bookmarks"]["orders"]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_postgresql_tap_loads_as_records_and_in_batch_files(  # noqa: PLR0913, PLR0917 - fixtures, by name
    load: t.Callable[..., Finished],
    install: t.Callable[..., Path],
    sandbox: SandboxServer,
    postgres: str,
    tmp_path: Path,
    compression: str | None,
) -> None:
    with psycopg.connect(postgres) as connection:
        connection.execute("drop table if exists orders")
        connection.execute(
            "create table orders (id bigint primary key, customer_id int, created_at timestamptz, total numeric(30,10),"
            " paid boolean, tags text[], extra jsonb, day date, big bigint)"
        )
        connection.execute(
            "insert into orders select n, n % 7, timestamptz '2012-10-15 04:06:30+00' + n * interval '1 second',"
            " n + 0.1234567891, n % 2 = 0, array['a', 'b'], '{\"k\": {\"n\": 1}}', date '2012-10-15',"
            " 9223372036854775807"
            " from generate_series(1, 1000) n"
        )
    tap = install("meltanolabs-tap-postgres") / "tap-postgres"
    folder = parse_qs(urlsplit(postgres).query)["host"][0]  # of its socket
    url = f"postgresql+psycopg2://postgres:any@{quote(folder, safe='')}:5432/postgres?host={quote(folder, safe='')}"
    root = tmp_path / "batches"
    root.mkdir()
    batches = {"encoding": {"format": "jsonl", "compression": compression}, "storage": {"root": root.as_uri()}}
    more = {"batch_config": batches} if compression else {}
    config = write_config(tmp_path, sqlalchemy_url=url, filter_schemas=["public"], **more)
    discovered = run(tap, "--config", config, "--discover")
    assert discovered.code == 0, discovered.stderr
    catalog = json.loads(discovered.stdout)
    catalog["streams"] = [stream for stream in catalog["streams"] if stream["tap_stream_id"].endswith("orders")]
    (tmp_path / "catalog.json").write_text(select_all(json.dumps(catalog)))
    messages = run(tap, "--config", config, "--catalog", tmp_path / "catalog.json")
    assert messages.code == 0, messages.stderr
    kind = "BATCH" if compression else "RECORD"
    (stream,) = {message["stream"] for message in messages.messages if message["type"] in ("RECORD", "BATCH")}
    assert {message["type"] for message in messages.messages} >= {kind, "SCHEMA"}
    files = sorted(root.iterdir())
    done = load(messages.stdout, streams=[{"stream": stream, **STREAM}], batch_root=str(root))
    assert done.code == 0, done.stderr
    events = sandbox.events("valid")
    assert len(events) == 1000
    first = next(event for event in events if event["id"] == 1)
    assert first["user_id"] == "1"
    assert first["event_timestamp_epoch"] == 1350273991000
    assert first["big"] == 2**63 - 1
    assert first["paid"] == "false"
    assert json.loads(first["tags"]) == ["a", "b"]
    assert first["extra_k_n"] == 1
    assert str(first["total"]).startswith("1.12345678")
    assert sorted(root.iterdir()) == files  # another tap's are left to it
