from __future__ import annotations

import gzip
import json
import os
import typing as t

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from target_cooladata import batch_files
from target_cooladata.exceptions import InputError
from tests.singer import record, schema, state

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox_server import SandboxServer
    from tests.target.conftest import RunTarget

PLAIN = {"format": "jsonl", "compression": "none"}
GZIP = {"format": "jsonl", "compression": "gzip"}


def read(path: Path | str, encoding: dict[str, str] | None = None, root: Path | str | None = None) -> list[bytes]:
    return [
        row
        for rows in batch_files.rows(str(path), encoding or PLAIN, None if root is None else str(root))
        for row in rows
    ]


def test_plain_and_compressed_files_give_their_rows(tmp_path: Path) -> None:
    content = b'{"a":1}\n\n{"a":2}\r\n{"a":3}'
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "a b.jsonl.gz").write_bytes(gzip.compress(content[:10]) + gzip.compress(content[10:]))
    expected = [b'{"a":1}', b'{"a":2}', b'{"a":3}']
    assert read(f"file://{tmp_path}/a.jsonl", root=tmp_path) == expected
    assert read(tmp_path / "a.jsonl", root=tmp_path) == expected
    assert read(tmp_path / "a.jsonl", root=tmp_path.as_uri()) == expected
    assert read(f"file://{tmp_path}/a%20b.jsonl.gz", GZIP, tmp_path) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1).map(lambda row: row.replace(b"\n", b"x"))), st.integers(1, 9))
def test_however_the_chunks_fall_the_rows_are_the_same(tmp_path: Path, rows: list[bytes], size: int) -> None:
    (tmp_path / "a").write_bytes(b"\n".join(rows))
    before, batch_files.CHUNK_BYTES = batch_files.CHUNK_BYTES, size
    try:
        assert read(tmp_path / "a", root=tmp_path) == [row.strip() for row in rows if row.strip()]
    finally:
        batch_files.CHUNK_BYTES = before


@pytest.mark.parametrize("path", ["/etc/passwd", "{root}/../outside", "{root}/link", "{root}/sub/../../outside"])
def test_a_file_outside_the_root_is_not_read(tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="not below `batch_root`"):
        read(path.format(root=root), root=root)


def test_what_cannot_be_read_is_refused_with_words(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"{}\n" * 100)[:-10])
    (tmp_path / "plain").write_bytes(b"{}\n")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, encoding, root, words in (
        (tmp_path / "plain", PLAIN, None, "`batch_root` does not say"),
        ("pyproject.toml", PLAIN, "", "`batch_root` does not say"),
        (tmp_path / "loop", PLAIN, tmp_path, "leads to none"),
        ("s3://bucket/key", PLAIN, tmp_path, "s3:// file"),
        (tmp_path / "missing", PLAIN, tmp_path, "No such file"),
        (tmp_path / "plain", GZIP, tmp_path, "cannot be read to its end"),
        (tmp_path / "cut.gz", GZIP, tmp_path, "its gzip stream is broken"),
        (tmp_path / "plain", {"format": "parquet"}, tmp_path, "expected jsonl"),
        (tmp_path / "plain", {"format": "jsonl", "compression": "zstd"}, tmp_path, "expected jsonl"),
    ):
        with pytest.raises(InputError, match=words):
            read(path, encoding, root)


def batch(*paths: Path, **encoding: str) -> str:
    manifest = [f"file://{path}" for path in paths]
    return json.dumps({"type": "BATCH", "stream": "orders", "encoding": encoding, "manifest": manifest}) + "\n"


MAPPING = {"orders": {"user_id_property": "customer", "event_time_property": "at"}}


def test_a_batch_is_loaded_by_the_same_rules_as_records(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    folder = tmp_path / "batches"
    folder.mkdir()
    rows = [{"customer": number, "at": "2012-10-15", "n": None, "flag": True} for number in range(1000)]
    lines = [json.dumps(row) for row in rows]
    lines[7] = "broken"
    lines[8] = '{"n": 1}'
    (folder / "1.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[:500]).encode()))
    (folder / "2.jsonl.gz").write_bytes(gzip.compress("\n".join(lines[500:]).encode()))
    done = run_target(
        state(n=0), schema("orders"),
        batch(folder / "1.jsonl.gz", folder / "2.jsonl.gz", format="jsonl", compression="gzip"),
        record("orders", customer=1, at="2012-10-15"), state(n=1),
        batch_root=str(folder), streams=MAPPING,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert done.states[-1] == {"n": 1}
    assert sandbox.summary()["valid"] == 999
    assert done.report["reject_reasons"] == {"not_json": 1, "missing_user_id": 1}
    assert sandbox.events()[0] == {
        "event_name": "orders", "user_id": "0", "event_timestamp_epoch": 1350259200000, "flag": "true",
    }  # fmt: skip
    assert (folder / "1.jsonl.gz").exists()


def test_stream_maps_apply_to_batches_too(run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path) -> None:
    rows = '{"customer": 1, "at": "2012-10-15", "keep": true}', '{"customer": 2, "keep": false}', "x"
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    properties: dict[str, t.Any] = {
        "customer": {"type": "integer"},
        "at": {"type": "string"},
        "keep": {"type": "boolean"},
    }
    done = run_target(
        schema("orders", **properties), batch(tmp_path / "a.jsonl", format="jsonl"),
        batch_root=str(tmp_path), streams=MAPPING, stream_maps={"orders": {"__filter__": "keep"}},
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert sandbox.summary()["valid"] == 1
    assert done.report["records_filtered"] == 1
    assert done.report["events_rejected"] == 1
    assert done.report["equation_closes"]


def test_a_batch_that_names_a_file_elsewhere_ends_the_run(run_target: RunTarget, tmp_path: Path) -> None:
    done = run_target(schema("orders"), batch(tmp_path / "a.jsonl", format="jsonl"), batch_root=str(tmp_path / "other"))
    assert done.code == 1
    assert "not below `batch_root`" in done.complaints[0]


OURS = "tap-coolafile--orders-20260102T030405Z-0a1b2c"


def fill(path: Path, *customers: int) -> Path:
    path.write_text("\n".join(f'{{"customer": {number}, "at": "2012-10-15"}}' for number in customers))
    return path


def test_our_own_taps_files_are_deleted_once_a_state_behind_them_has_gone_out_and_no_others(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    ours = fill(tmp_path / f"{OURS}-1.jsonl", 1, 2)
    prefixed = fill(tmp_path / f"daily-{OURS}-2.jsonl", 3)
    others = [
        fill(tmp_path / name, 4)
        for name in (
            "orders-1.jsonl",
            f"{OURS}-1.jsonl.bak",
            OURS.replace("orders", "other") + "-1.jsonl",
            "tap-coolafile--orders-1.jsonl",
        )
    ]
    linked = tmp_path / f"{OURS}-4.jsonl"
    linked.symlink_to(others[0])
    after = fill(tmp_path / f"{OURS}-3.jsonl", 5)
    done = run_target(
        schema("orders"),
        batch(ours, prefixed, *others, linked, format="jsonl"), state(n=1), batch(after, format="jsonl"),
        batch_root=str(tmp_path), streams=MAPPING,
    )  # fmt: skip
    assert done.code == 0, done.stderr
    assert sandbox.summary()["valid"] == 9
    assert done.states == [{"n": 1}]
    assert sorted(tmp_path.glob("*.jsonl*")) == sorted([*others, linked, after])


def test_a_batch_file_stays_while_its_events_are_not_acknowledged_or_only_tried(
    run_target: RunTarget, sandbox: SandboxServer, tmp_path: Path
) -> None:
    files = [fill(tmp_path / f"{OURS}-{number}.jsonl", number) for number in (1, 2, 3)]
    lines = [line for n, path in enumerate(files) for line in (batch(path, format="jsonl"), state(n=n))]
    settings: dict[str, t.Any] = {"batch_root": str(tmp_path), "streams": MAPPING, "batch_size_rows": 1}
    assert run_target(schema("orders"), *lines, dry_run=True, **settings).code == 0
    assert all(path.exists() for path in files)
    sandbox.set_faults({"kind": "status", "status": 403, "every": 2, "times": None})
    done = run_target(schema("orders"), *lines, max_concurrency=1, **settings)
    assert done.code == 1
    assert done.states == [{"n": 0}]
    assert [path.exists() for path in files] == [False, True, True]


def test_what_is_no_regular_file_or_no_name_of_one_ends_the_run_with_a_word(
    run_target: RunTarget, tmp_path: Path, sandbox: SandboxServer
) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    manifest = json.dumps(
        {"type": "BATCH", "stream": "orders", "encoding": {"format": "jsonl"}, "manifest": ["file://[x"]}
    )
    for line, words in (
        (batch(tmp_path / "pipe.jsonl", format="jsonl"), "no regular file"),
        (manifest + "\n", "leads to none"),
    ):
        before = sandbox.summary()["events"]
        before_it = record("orders", customer=1, at="2012-10-15")
        done = run_target(schema("orders"), before_it, line, batch_root=str(tmp_path), streams=MAPPING)
        assert done.code == 1
        assert words in done.complaints[0]
        assert sandbox.summary()["events"] == before + 1  # what came before it is loaded
