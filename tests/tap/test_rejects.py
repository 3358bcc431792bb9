"""Quarantine: one line for each rejected row, durable before the state, for its owner's eyes alone."""

from __future__ import annotations

import gzip
import json
import typing as t

import pytest

from tap_coolafile.exceptions import StorageError
from tap_coolafile.places import VERSION
from tap_coolafile.rejects import RejectsFile
from tap_coolafile.sources.other import writer
from tests.tap.conftest import Workplace, event

if t.TYPE_CHECKING:
    from pathlib import Path

    from tests.s3_server import S3Server


def rejects(path: str, **more: t.Any) -> RejectsFile:
    return RejectsFile(path, run_id="run1", stream="events", writer=lambda _: writer(more))


def add(file: RejectsFile, row: bytes = b"{broken") -> None:
    file.add(reason="not_json", detail="because", source="s3://b/a.json", line=7, offset=99, row=row)


def test_a_reject_is_one_object_with_all_its_fields(tmp_path: Path) -> None:
    file = rejects(str(tmp_path / "kept"))
    add(file)
    file.close()
    (path,) = (tmp_path / "kept").rglob("*.json")
    entry = json.loads(path.read_text())
    assert entry.pop("rejected_at").endswith("Z")
    assert entry == {
        "reason": "not_json",
        "detail": "because",
        "stream": "events",
        "source": "s3://b/a.json",
        "line": 7,
        "offset": 99,
        "row": "{broken",
    }


def test_the_file_lies_below_the_day_has_the_name_of_the_run_and_is_its_owners_alone(tmp_path: Path) -> None:
    file = rejects(str(tmp_path))
    add(file)
    file.close()
    (path,) = tmp_path.rglob("*.json")
    assert path.name == "run1.json"
    assert len(path.parent.name) == len("2024-01-31")
    assert path.stat().st_mode & 0o777 == 0o600
    assert file.location == str(path)


def test_no_file_appears_without_a_reject(tmp_path: Path) -> None:
    file = rejects(str(tmp_path / "kept"))
    file.close()
    assert not (tmp_path / "kept").exists()
    assert file.location == ""


def test_bytes_that_are_not_utf8_are_kept_as_base64(tmp_path: Path) -> None:
    file = rejects(str(tmp_path))
    add(file, b"\xff\xfe")
    file.close()
    (path,) = tmp_path.rglob("*.json")
    entry = json.loads(path.read_text())
    assert entry["row_base64"] == "//4="
    assert "row" not in entry


def test_what_was_secured_stands_in_the_file_before_it_is_closed(tmp_path: Path) -> None:
    file = rejects(str(tmp_path))
    for count in (1, 2, 3):
        add(file)
        file.secure()
        (path,) = tmp_path.rglob("*.json")
        assert len(path.read_text().splitlines()) == count
    file.close()


def test_large_rejects_are_not_gathered_in_memory_until_the_next_state(tmp_path: Path) -> None:
    file = rejects(str(tmp_path))
    for count in range(1, 301):
        add(file, b"x" * 99_000)
        written = sum(path.stat().st_size for path in tmp_path.rglob("*.json"))
        assert count * 99_000 - written < 9 << 20
    file.close()
    (path,) = tmp_path.rglob("*.json")
    assert len(path.read_text().splitlines()) == 300


def test_a_folder_that_cannot_be_written_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = rejects(str(tmp_path / "file"))
    add(file)
    for _ in "twice":
        with pytest.raises(StorageError, match="check rejects_path"):
            file.secure()


def test_rejects_may_go_to_object_storage_in_parts(s3: S3Server) -> None:
    bucket = s3.bucket("quarantine")
    file = rejects(f"s3://{bucket}/kept", client=s3.s3)
    add(file)
    file.secure()
    add(file)
    file.close()
    found = [entry["Key"] for entry in s3.s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert [key.rsplit("/", 1)[1] for key in found] == ["run1.2.json", "run1.json"]
    for key in found:
        assert json.loads(s3.s3.get_object(Bucket=bucket, Key=key)["Body"].read())["row"] == "{broken"


def test_rejects_go_to_s3_with_the_credentials_of_the_settings(place: Workplace, s3: S3Server) -> None:
    bucket = s3.bucket("kept", {"in/a.json": (event(1) + "\n{broken\n").encode()})
    config: dict[str, t.Any] = {"aws_endpoint_url": s3.endpoint_url, **s3.admin.settings()}
    run = place.run(uris=f"s3://{bucket}/in/", rejects_path=f"s3://{bucket}/rejects", **config)
    assert (run.code, run.users) == (0, ["u1"]), run.log
    (key,) = [entry["Key"] for entry in s3.s3.list_objects_v2(Bucket=bucket, Prefix="rejects/")["Contents"]]
    assert run.report["rejects"] == f"s3://{bucket}/{key}"
    assert json.loads(s3.s3.get_object(Bucket=bucket, Key=key)["Body"].read())["row"] == "{broken"


def test_rejects_that_s3_refuses_end_the_run_without_a_state_past_them(place: Workplace, s3: S3Server) -> None:
    bucket = s3.bucket("refused", {"in/a.json": (event(1) + "\n{broken\n").encode()})
    allowed = [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}]
    config: dict[str, t.Any] = {"aws_endpoint_url": s3.endpoint_url, **s3.user("reader", allowed).settings()}
    run = place.run(uris=f"s3://{bucket}/in/", rejects_path=f"s3://{bucket}/rejects", **config)
    assert run.code == 1
    (line,) = run.complaints
    assert "check rejects_path" in line
    assert run.state == {"bookmarks": {"events": {"version": VERSION}}}


ARRAY = ("is a bad file", "line 1: ", "an array, as in a file that is one JSON array")
BRACE = ("is a bad file", "line 1: the row is a lone brace, as in pretty-printed JSON")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[{event(1)},{event(2)}]", ARRAY),
        (f"[{','.join(map(event, range(3000)))}]", ARRAY),
        ("[\n" + ",\n".join(map(event, range(300))) + "\n]\n", ARRAY),
        (json.dumps([json.loads(event(1))], indent=2), ARRAY),
        (json.dumps(json.loads(event(1)), indent=2), BRACE),
        (json.dumps(json.loads(event(1)), indent=2).replace("{", "\ufeff{"), BRACE),
        (f"\n\n{event(1)[:-1]}\n", ("line 3: JSON ends at character",)),
    ],
)
def test_the_log_names_the_format_expected_of_a_file_in_another(
    place: Workplace, text: str, words: tuple[str, ...]
) -> None:
    place.write("a.json", text, end="")
    run = place.run()
    (line,) = [line for line in run.log.splitlines() if "is a bad file" in line]
    for expected in (*words, "the format expected is one JSON object per line"):
        assert expected in line
    assert run.code == 1
    assert "login" not in run.log


def test_the_log_names_the_format_also_of_a_short_array_whose_last_row_is_valid(place: Workplace) -> None:
    path = place.write("a.json", "[", *(f"{event(n)}," for n in range(20)), event(20), "]")
    run = place.run()
    assert (run.code, run.users, run.report["rows_rejected"]) == (0, ["u20"], 22)
    first = (
        f"file://{path} line 1: the row is an array, as in a file that is one JSON array; the format expected is one "
    )
    assert f"; first {first}" in run.log
    assert run.report["first_rejected"].startswith(first)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (event().encode("utf-16"), "begins as UTF-16 does; UTF-8 is expected"),
        (gzip.compress(event().encode()), "begins as gzip does; allow_compressed reads it"),
    ],
    ids=["utf-16", "gzip"],  # not the bytes, which hold the time of their compression
)
def test_the_log_names_another_encoding(place: Workplace, data: bytes, words: str) -> None:
    place.write("a.json", data)
    assert words in place.run().log


def test_the_log_quotes_no_property_of_a_bad_file(place: Workplace) -> None:
    place.write("a.json", '{"sesame":1,"sesame":2}')
    run = place.run()
    assert "line 1: a property occurs twice in the row" in run.log
    place.write("b.json", event(1), '{"sesame":1,"sesame":2}')
    run = place.run(uris=f"{place.data}/b.json")
    assert "b.json line 2: a property occurs twice in the row" in run.log
    assert "sesame" not in run.log


def test_a_run_does_not_read_the_rejects_of_another_that_lie_among_its_files(place: Workplace) -> None:
    folder = place.data / "rejects"
    place.write("a.json", event(1), "{broken")
    first = place.run(rejects_path=str(folder))
    place.write("2026-01-01/b.json", event(2))
    place.write("rejects/2026-01-01/c.json", event(3))
    again = place.run(rejects_path=str(folder), state=first.state)
    assert len([*folder.rglob("*Z-*.json")]) == 1
    assert (again.code, again.users) == (0, ["u2", "u3"])
    inside = place.run(rejects_path=str(place.data))
    assert sorted(inside.users) == ["u1", "u2", "u3"]
