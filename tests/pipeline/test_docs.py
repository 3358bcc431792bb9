"""The documents say what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t

import pytest

from tests.commands import run
from tests.settings_docs import PLUGINS, ROOT, declared, documents, section

if t.TYPE_CHECKING:
    from pathlib import Path


DOCUMENTS = list(documents())


@pytest.mark.parametrize(
    ("path", "plugin", "text"), DOCUMENTS, ids=[f"{plugin} in {path.name}" for path, plugin, _ in DOCUMENTS]
)
def test_the_settings_in_a_document_are_those_declared(path: Path, plugin: str, text: str) -> None:
    _, found, _ = section(path.read_text(), plugin)
    assert found == text, "run: python -m tests.settings_docs"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_about_lists_every_setting_in_every_format(plugin: str) -> None:
    settings = declared(plugin)
    about = json.loads(run(plugin, "--about", "--format=json").stdout)
    assert set(about["settings"]["properties"]) == set(settings)
    markdown = run(plugin, "--about", "--format=markdown").stdout
    assert all(f"{name}" in markdown for name in settings)
    assert run(plugin, "--about").code == 0
    assert plugin in run(plugin, "--version").stdout


def readme_command(name: str) -> str:
    """The command of the README that stands below a mark, as `.ci/run` finds it."""
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    assert "\n" not in found[1]
    return found[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files of this repository in an empty folder, as a fresh clone has them."""
    folder = tmp_path / "clone"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(bytes.decode, names)):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    return folder


def summary(folder: Path) -> dict[str, t.Any]:
    done = run("cooladata-sandbox", "summary", "--db", folder / "output" / "sandbox.db")
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def test_the_first_command_loads_the_demo_files_and_only_what_is_new_after_that(clone: Path) -> None:
    rows = sum(len(path.read_text().splitlines()) for path in (clone / "data").glob("*.json"))
    clean = {"VIRTUAL_ENV": "", "NO_COLOR": "1"}
    done = run("bash", "-c", readme_command("load"), cwd=clone, env=clean, seconds=600)
    assert done.code == 0, done.stderr
    assert "Run completed" in done.stderr
    found = summary(clone)
    assert (found["valid"], found["invalid"], found["events"]) == (rows, 0, rows)

    assert run("bash", "-c", readme_command("load"), cwd=clone, env=clean, seconds=600).code == 0
    assert summary(clone)["events"] == rows
    assert (clone / "meltano.yml").read_text() == (ROOT / "meltano.yml").read_text()  # Meltano likes to rewrite it

    event = '{"event_name":"late","user_id":"u","event_time_ts":1350273990000}\n'
    (clone / "data" / "more.json").write_text(event * 3)
    assert run("bash", "-c", readme_command("load"), cwd=clone, env=clean, seconds=600).code == 0
    assert summary(clone)["events"] == rows + 3
    assert summary(clone)["by_event_name"]["late"] == 3


def test_the_tests_command_is_the_loading_one_with_pytest() -> None:
    assert readme_command("tests").split(" && ")[0] == readme_command("load").split(" && ")[0]
    assert readme_command("tests").endswith("uv run pytest")


def test_no_file_names_a_registry_or_a_machine() -> None:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not {"uv.lock", "package-lock.json"} & set(names)
    words = re.compile(rf"pypi\.or[g]|pythonhoste[d]|registry\.npm|{re.escape(str(ROOT.parent))}/|/roo[t]/")
    for name in names:
        path = ROOT / name
        if path.is_file() and path.suffix != ".json":
            assert not words.search(path.read_text()), name
