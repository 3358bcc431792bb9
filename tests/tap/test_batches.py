"""BATCH messages: files of judged rows, named before the state that goes past them."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import typing as t
import urllib.parse
from pathlib import Path

import pytest

from tap_coolafile.exceptions import SettingError, StorageError
from tests.commands import run as run_command
from tests.commands import write_config
from tests.singer import APP_KEY
from tests.tap.conftest import SEED_ROWS, Run, Workplace, checked, event

if t.TYPE_CHECKING:
    from tests.sandbox_server import SandboxServer


def batch_config(root: Path, compression: str = "none", **more: t.Any) -> dict[str, t.Any]:
    encoding = {"format": "jsonl", "compression": compression}
    return {"batch_config": {"encoding": encoding, "storage": {"root": root.as_uri()}, **more}}


def rows_of(uri: str) -> list[dict[str, t.Any]]:
    data = Path(urllib.parse.unquote(urllib.parse.urlsplit(uri).path)).read_bytes()
    if uri.endswith(".gz"):
        data = gzip.decompress(data)
    return [json.loads(line) for line in data.splitlines()]


def loaded(run: Run, *, before_state: int | None = None) -> list[dict[str, t.Any]]:
    """Read the rows of all files that were named, or of those named before a message."""
    messages = run.messages[:before_state]
    uris = [uri for message in messages if message["type"] == "BATCH" for uri in message["manifest"]]
    return [row for uri in uris for row in rows_of(uri)]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_batch_files_hold_what_records_would(place: Workplace, tmp_path: Path, compression: str) -> None:
    place.write("a.json", *SEED_ROWS, "{broken", "", event(1, n=1.50), event(2, text="é\u2028") + "\r")
    plain = place.sync()
    run = place.sync(**batch_config(tmp_path / "b ä", compression))
    assert run.records == []
    assert loaded(run) == plain.records
    assert run.of("SCHEMA") == plain.of("SCHEMA")
    (message,) = run.of("BATCH")
    assert message["stream"] == "events"
    assert message["encoding"] == {"format": "jsonl", "compression": compression}
    assert run.report["rows_sent"] == plain.report["rows_sent"]
    assert run.state["bookmarks"]["events"]["places"] == plain.state["bookmarks"]["events"]["places"]


def test_no_file_holds_more_rows_than_allowed_and_each_is_named_by_its_run(place: Workplace, tmp_path: Path) -> None:
    place.write("a.json", *(event(n) for n in range(2500)))
    run = place.sync(**batch_config(tmp_path / "b", batch_size=1000), state_interval_rows=10_000)
    uris = [uri for message in run.of("BATCH") for uri in message["manifest"]]
    assert [len(rows_of(uri)) for uri in uris] == [1000, 1000, 500]
    run_id = run.report["run_id"]
    for number, uri in enumerate(uris, 1):
        assert uri.endswith(f"/b/tap-coolafile--events-{run_id}-{number}.jsonl")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "b").iterdir()} == {0o600}


def test_any_state_between_batches_resumes_without_a_row_missing_or_repeated(place: Workplace, tmp_path: Path) -> None:
    place.write("a.json", *(event(n) for n in range(3000)))
    place.write("b.json", *(event(n) for n in range(3000, 4000)))
    config = batch_config(tmp_path / "b", batch_size=300)
    whole = place.sync(**config, state_interval_rows=700)
    assert [row["user_id"] for row in loaded(whole)] == [f"u{n}" for n in range(4000)]
    for at, message in enumerate(whole.messages):
        if message["type"] == "STATE":
            first = loaded(whole, before_state=at)
            rest = loaded(place.sync(state=message["value"], **config, state_interval_rows=700))
            assert [row["user_id"] for row in first + rest] == [f"u{n}" for n in range(4000)]


def test_a_signal_leaves_no_file_that_no_message_names(place: Workplace, tmp_path: Path) -> None:
    place.write("a.json", *(event(n) for n in range(200_000)))
    config = batch_config(tmp_path / "b", batch_size=500)
    command = place.command(**config, state_interval_rows=2000)
    tap = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.folder, bufsize=0)
    assert tap.stdout is not None
    begin = b""
    while b'"BATCH"' not in begin:
        begin += tap.stdout.readline()
    tap.send_signal(signal.SIGTERM)
    output, log = tap.communicate(timeout=30)
    assert tap.returncode == 143, log.decode()
    run = Run(begin + output)
    named = {uri for message in run.of("BATCH") for uri in message["manifest"]}
    assert {path.as_uri() for path in (tmp_path / "b").iterdir()} == named
    rest = place.run(state=run.state, **config)
    assert [row["user_id"] for row in loaded(run) + loaded(rest)] == [f"u{n}" for n in range(200_000)]


def test_rows_that_must_go_through_stream_maps_are_records_all_the_same(place: Workplace, tmp_path: Path) -> None:
    place.write("a.json", event(1, n=1))
    run = place.run(**batch_config(tmp_path / "b"), stream_maps={"events": {"m": "n + 1"}})
    assert [record["m"] for record in run.records] == [2]
    assert "batch_config is set aside" in run.log
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"encoding": {"format": "parquet"}, "storage": {"root": "b"}}, "writes jsonl"),
        ({"encoding": {"format": "jsonl", "compression": "zstd"}, "storage": {"root": "b"}}, "gzip or none"),
        ({"encoding": {"format": "jsonl"}, "storage": {"root": "s3://b/"}}, "local folder"),
        ({"encoding": {"format": "jsonl"}, "storage": {}}, "storage.root"),
        ({"encoding": {"format": "jsonl"}, "storage": {"root": "b"}, "batch_size": -1}, "batch_size"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(config: t.Any, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        checked("data/", batch_config=config)


def test_a_root_that_cannot_be_written_is_told(place: Workplace, tmp_path: Path) -> None:
    place.write("a.json", event(1))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="check batch_config"):
        place.sync(**batch_config(tmp_path / "file"))


def test_the_target_loads_batch_files(place: Workplace, tmp_path: Path, sandbox: SandboxServer) -> None:
    place.write("a.json", *(event(n) for n in range(1000)), "{broken")
    root = tmp_path / "b"
    tap = place.run(**batch_config(root, "gzip", batch_size=300))
    folder = tmp_path / "target"
    folder.mkdir()
    config = write_config(
        folder, endpoint_url=sandbox.url, app_key=APP_KEY, batch_root=str(root), rejects_path=str(folder / "rejects")
    )
    done = run_command("target-cooladata", "--config", config, stdin=b"\n".join(tap.lines) + b"\n")
    assert done.code == 0, done.stderr
    assert sandbox.summary()["distinct"] == 1000
    assert done.states[-1] == tap.state
    assert list(root.iterdir()) == []


def test_the_root_may_be_a_path_relative_to_the_working_directory(place: Workplace) -> None:
    place.write("a.json", event(1))
    config = {"encoding": {"format": "jsonl"}, "storage": {"root": "batches", "prefix": "p-"}}
    run = place.run(batch_config=config, env=dict(os.environ))
    assert run.code == 0, run.log
    (path,) = (place.folder / "batches").iterdir()
    assert path.name.startswith("p-tap-coolafile--events-")
    assert [row["user_id"] for row in loaded(run)] == ["u1"]
