"""Names that are not UTF-8: told apart, kept in state and told to people, all in text that any JSON carries."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tap_coolafile import paths
from tap_coolafile.exceptions import MissingFileError
from tests import commands
from tests.tap.conftest import Run, Workplace, event

NAME = os.fsdecode(b"caf\xe9.json")
BESIDE = {
    b"caf%E9.json": 1,
    b"caf\xc3\xa9.json": 2,
    b"caf\xe9.json": 3,
    "caf\uefe9.json".encode(): 4,
    b"caf\xff.json": 5,
}


@given(st.binary().map(os.fsdecode))
def test_any_path_becomes_utf_8_and_is_found_again(path: str) -> None:
    text = paths.text_of(path)
    assert paths.path_of(text) == path
    assert text.encode().decode() == text
    assert paths.decoded(paths.encoded(text)) == text or "%" in path
    assert paths.encoded(text).encode().decode() == paths.encoded(text)


@given(st.text(st.characters(exclude_categories=["Cs", "Co"])))
def test_a_path_that_is_utf_8_is_its_own_text(path: str) -> None:
    assert paths.text_of(path) == paths.path_of(path) == paths.encoded(path) == path


def written_in_utf_8(place: Workplace, run: Run) -> None:
    """See that each message, the state among them, and each reject is JSON of whole characters."""
    for line in [*run.lines, *(file.read_bytes() for file in (place.folder / "rejects").rglob("*.json"))]:
        json.dumps([json.loads(part) for part in line.splitlines()], ensure_ascii=False).encode()


@pytest.mark.parametrize("kind", ["folder", "uri", "glob"])
def test_a_file_whose_name_is_not_utf_8_is_read_once_and_named_percent_encoded(place: Workplace, kind: str) -> None:
    place.write(NAME, event(1), "{broken", event(2))
    uri = f"file://{place.data}/caf%E9.json"
    uris = {"folder": f"{place.data}/", "uri": uri, "glob": f"{place.data}/c?f?.json"}
    run = place.run(uris=uris[kind], add_metadata_columns=True)
    assert (run.code, run.users) == (0, ["u1", "u2"]), run.log
    assert [record["_sdc_source_file"] for record in run.records] == [uri, uri]
    assert [reject["source"] for reject in place.rejects()] == [uri]
    written_in_utf_8(place, run)
    again = place.run(uris=uris[kind], state=run.state)
    assert (again.code, again.users, again.report["files_unchanged"]) == (0, [], 1), again.log


def test_files_whose_names_differ_in_bytes_alone_are_told_apart(place: Workplace) -> None:
    for number, name in enumerate(BESIDE, 1):
        place.write(os.fsdecode(name), event(number))
    run = place.sync()
    assert sorted(run.users) == ["u1", "u2", "u3", "u4", "u5"]
    written_in_utf_8(place, run)
    place.write(NAME, event(3), event(6))
    assert place.sync(state=run.state).users == ["u6"]


def test_a_bad_file_whose_name_is_not_utf_8_stays_pending_under_that_name(place: Workplace) -> None:
    place.write(NAME, "{broken")
    run = place.run()
    assert run.code == 1
    assert run.report["bad_files"] == [f"file://{place.data}/caf%E9.json"]
    written_in_utf_8(place, run)
    place.write(NAME, event(1))
    assert place.sync(state=run.state).users == ["u1"]


def test_a_run_goes_on_in_the_middle_of_a_file_whose_name_is_not_utf_8(place: Workplace) -> None:
    place.write(NAME, *(event(n) for n in range(3000)))
    run = place.sync(state_interval_rows=1000)
    first = next(message["value"] for message in run.of("STATE") if "file" in str(message["value"]))
    done = run.messages.index({"type": "STATE", "value": first})
    before = Run(b"\n".join(run.lines[:done])).users
    assert before
    assert before + place.sync(state=first).users == run.users


def test_paths_that_are_not_utf_8_may_be_given_in_the_environment(place: Workplace) -> None:
    folder = os.fsdecode(bytes(place.folder) + b"/d\xe9p\xf4t")
    (Path(folder) / "in").mkdir(parents=True)
    (Path(folder) / "in" / NAME).write_text(event(1) + "\n{broken\n")
    given = {"URIS": f"{folder}/in/{NAME}", "REJECTS_PATH": f"{folder}/out", "REPORT_PATH": f"{folder}/report.json"}
    done = commands.run("tap-coolafile", "--config=ENV", env={f"TAP_COOLAFILE_{name}": given[name] for name in given})
    run = Run(done.stdout.encode(), done.stderr, done.code)
    assert (run.code, run.users) == (0, ["u1"]), run.log
    assert run.report["rejects"].startswith(f"{place.folder}/d%E9p%F4t/out/")
    assert json.loads((Path(folder) / "report.json").read_text()) == run.report
    (rejects,) = (Path(folder) / "out").rglob("*.json")
    assert json.loads(rejects.read_text())["source"] == f"file://{place.folder}/d%E9p%F4t/in/caf%E9.json"
    written_in_utf_8(place, run)


def test_a_missing_file_whose_name_is_not_utf_8_is_named_percent_encoded(place: Workplace) -> None:
    with pytest.raises(MissingFileError, match=r"/caf%E9\.json does not exist"):
        place.sync(uris=f"{place.data}/{NAME}")
