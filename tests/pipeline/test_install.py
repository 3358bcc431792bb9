"""Each half is installed alone, by plain pip, from its folder or from a git subdirectory."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t

import pytest

from tests.commands import BIN, run, write_config
from tests.settings_docs import ROOT
from tests.singer import event, schema, state

if t.TYPE_CHECKING:
    from pathlib import Path

HALVES = ("tap-coolafile", "target-cooladata")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with the two halves as they stand here."""
    folder = tmp_path_factory.mktemp("repository")
    names = subprocess.run(["git", "ls-files", "-z", *HALVES], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, map(bytes.decode, names.split(b"\0"))):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    identity = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "halves"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env={**os.environ, **identity})
    return folder


def pip(folder: Path, *packages: str) -> Path:
    # Not `python -m venv`: Debian's Python has no pip to put into one unless python3-venv is installed.
    subprocess.run([BIN / "uv", "venv", "--quiet", "--seed", "--python", sys.executable, folder], check=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
    return folder / "bin"


def test_the_tap_alone_is_installed_from_its_folder(tmp_path: Path) -> None:
    commands = pip(tmp_path / "env", str(ROOT / "tap-coolafile"))
    (tmp_path / "a.json").write_text('{"event_name":"e","user_id":"u","event_time_ts":1350273990000}\n')
    (tmp_path / "bad.json").write_text('{"event_name":"e","user_id":"u","event_time_ts":1350273990000}\n{bad\n')
    done = run(commands / "tap-coolafile", "--config", write_config(tmp_path, uris=str(tmp_path / "a.json")))
    assert done.code == 0, done.stderr
    assert [message["type"] for message in done.messages].count("RECORD") == 1
    for uri, extra in (("gs://b/", "gcs"), ("azure://c/", "azure"), ("sftp://u@127.0.0.1/in/", "sftp")):
        for config in ({"uris": uri}, {"uris": str(tmp_path / "bad.json"), "rejects_path": uri}):
            refused = run(commands / "tap-coolafile", "--config", write_config(tmp_path, **config))
            (line,) = refused.complaints
            assert (refused.code, line.endswith(f": pip install 'tap-coolafile[{extra}]'")) == (1, True), line
    assert not (commands / "target-cooladata").exists()
    assert run(commands / "python", "-c", "import target_cooladata").code == 1


def test_the_target_alone_is_installed_from_a_git_subdirectory_without_the_sandbox(
    tmp_path: Path, repository: Path
) -> None:
    commands = pip(tmp_path / "env", f"git+file://{repository}#subdirectory=target-cooladata")
    assert run(commands / "target-cooladata", "--version").code == 0
    assert run(commands / "python", "-c", "import tap_coolafile").code == 1
    config = write_config(tmp_path, endpoint_url=f"sandbox:{tmp_path / 'sandbox.db'}")
    done = run(commands / "target-cooladata", "--config", config, stdin=schema() + event(1) + state(a=1))
    assert done.code == 1
    assert done.complaints == ["endpoint_url: the sandbox is not installed; pip install 'target-cooladata[sandbox]'"]
