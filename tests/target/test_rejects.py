from __future__ import annotations

import json
import stat
import typing as t
from pathlib import Path

import pytest

from target_cooladata.exceptions import RejectsError
from target_cooladata.rejects import RejectsWriter


def write(writer: RejectsWriter, record: bytes = b'{"n": 1E5}') -> None:
    writer.write(reason="bad_time", detail="why", stream="s", record=record, status=400)


def lines(writer: RejectsWriter) -> list[t.Any]:
    assert writer.location is not None
    return [json.loads(line) for line in Path(writer.location).read_text().splitlines()]


def test_nothing_is_made_before_the_first_reject(tmp_path: Path) -> None:
    writer = RejectsWriter(str(tmp_path / "rejects"), "run")
    writer.sync()
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_reject_has_the_record_as_it_came_and_the_file_is_private(tmp_path: Path) -> None:
    writer = RejectsWriter(str(tmp_path / "rejects"), "run")
    write(writer)
    writer.close()
    assert writer.location is not None
    path = Path(writer.location)
    assert path.name == "run.json"
    assert path.parent.parent == tmp_path / "rejects"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert '"record":{"n": 1E5}' in text
    assert list(json.loads(text)) == ["reason", "detail", "rejected_at", "stream", "record", "status"]


def test_what_is_synced_is_there_before_the_file_is_closed(tmp_path: Path) -> None:
    writer = RejectsWriter(str(tmp_path), "run")
    for number in range(1, 4):
        write(writer)
        writer.sync()
        assert len(lines(writer)) == number
    writer.close()


def test_a_record_that_is_not_json_is_kept_as_text(tmp_path: Path) -> None:
    writer = RejectsWriter(str(tmp_path), "run")
    write(writer, b'{"a": NaN}')
    write(writer, b"\xff")
    writer.close()
    assert [line["record"] for line in lines(writer)] == ['{"a": NaN}', "\\xff"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RejectsError, match=r"Not a directory.*rejects_path"):
        write(RejectsWriter(str(tmp_path / "file" / "below"), "run"))


def test_a_disk_that_is_full_is_named() -> None:
    writer = RejectsWriter("/dev", "unused")
    writer._file = open("/dev/full", "wb")  # noqa: PTH123, SIM115, SLF001 - the kernel's own full disk
    write(writer)
    for _ in range(2):  # and it does not recover in silence
        with pytest.raises(RejectsError, match="No space left on device"):
            writer.sync()


def test_the_name_of_a_user_and_a_signature_are_not_told() -> None:
    writer = RejectsWriter("nosuch://user:secret@host/path?signature=abc", "run")
    write(writer)
    with pytest.raises(RejectsError) as refusal:
        writer.sync()
    assert "secret" not in str(refusal.value)
    assert "abc" not in str(refusal.value)


def test_where_rejects_are_kept_is_told_without_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "user:pass"
    writer = RejectsWriter(str(folder), "run")
    write(writer)
    writer.close()
    assert writer.location is not None
    assert writer.location.startswith(str(folder))
    remote = RejectsWriter("nosuch://AKIA:se/cr@et@host/path?X-Signature=abc", "run")
    write(remote)
    assert remote.location is not None
    assert remote.location.startswith("nosuch://host/path")
    with pytest.raises(RejectsError, match="below nosuch://host/path "):
        remote.sync()
    assert remote.location is None
