"""The pair under the real Meltano, in projects made for the test."""

from __future__ import annotations

import json
import re
import shutil
import typing as t

import pytest
import yaml

from tap_coolafile.settings import load as load_tap_settings
from tap_coolafile.settings import normalise
from target_cooladata.configuration import parse
from tests.commands import Finished, run
from tests.sandbox_server import SandboxServer
from tests.settings_docs import ROOT, declared
from tests.singer import APP_KEY

if t.TYPE_CHECKING:
    from pathlib import Path

PAIR = ("tap-coolafile", "target-cooladata")
EVENT = {"event_name": "e", "user_id": "u", "event_time_ts": 1350273990000}


class Project:
    """A Meltano project with our plugins, installed from copies of their folders.

    Args:
        folder: where to make it.
        editable: how the plugins are installed; Meltano caches the catalog only of those that are not.
        config: settings by plugin.
    """

    def __init__(self, folder: Path, *, editable: bool = False, **config: dict[str, t.Any]) -> None:
        self.folder = folder
        folder.mkdir()
        project = yaml.safe_load((ROOT / "meltano.yml").read_text())
        project["environments"] = [{"name": "test"}]
        project["default_environment"] = "test"
        del project["plugins"]["utilities"]
        for kind, name in (("extractors", "tap-coolafile"), ("loaders", "target-cooladata")):
            (plugin,) = project["plugins"][kind]
            source = ROOT / name
            if not editable:
                source = folder / "sources" / name
                shutil.copytree(ROOT / name, source, ignore=shutil.ignore_patterns("__pycache__"))
            extra = "[sandbox]" if name.startswith("target") else ""
            plugin["pip_url"] = f"-e {source}{extra}" if editable else f"{source}{extra}"
            plugin["config"] = config.get(name.replace("-", "_"), {})
        self.document = project
        self.save()

    def save(self) -> None:
        (self.folder / "meltano.yml").write_text(yaml.safe_dump(self.document))

    def meltano(self, *arguments: str, **env: str) -> Finished:
        return run("meltano", *arguments, cwd=self.folder, env={"NO_COLOR": "1", **env}, seconds=240)

    def run(self, **env: str) -> Finished:
        return self.meltano("run", *PAIR, **env)

    def rows(self, name: str, *rows: dict[str, t.Any]) -> None:
        path = self.folder / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        tmp_path / "project",
        tap_coolafile={"uris": "in/"},
        target_cooladata={"endpoint_url": "sandbox:output/sandbox.db"},
    )


def summary(project: Project) -> dict[str, t.Any]:
    done = run("cooladata-sandbox", "summary", "--db", project.folder / "output" / "sandbox.db")
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def stored(project: Project) -> list[t.Any]:
    with SandboxServer(project.folder / "output" / "sandbox.db") as sandbox:
        return sandbox.events()


def test_runs_load_what_is_new_and_a_cached_catalog_hides_no_new_property(project: Project) -> None:
    project.rows("a.json", EVENT, EVENT | {"x": 1})
    done = project.run()
    assert done.code == 0, done.stderr
    assert "Catalog cache" not in done.stderr
    assert summary(project)["valid"] == 2

    assert project.run().code == 0
    assert summary(project)["events"] == 2

    cached = list((project.folder / ".meltano").rglob("tap.properties.json"))
    assert cached
    assert "brand_new" not in cached[0].read_text()
    project.rows("b.json", EVENT | {"brand_new": "here"})
    assert project.run().code == 0
    assert "brand_new" not in cached[0].read_text()  # discovery has not run again
    assert summary(project)["valid"] == 3
    assert [event.get("brand_new") for event in stored(project)] == [None, None, "here"]


def test_a_wrong_key_is_one_clear_line_and_the_key_is_shown_nowhere(
    tmp_path: Path, start_sandbox: t.Callable[..., SandboxServer]
) -> None:
    sandbox = start_sandbox("--app-key", "another")
    project = Project(
        tmp_path / "project", tap_coolafile={"uris": "in/"}, target_cooladata={"endpoint_url": sandbox.url}
    )
    project.rows("a.json", EVENT)
    done = project.meltano(
        "--log-level=debug", "run", *PAIR,
        TARGET_COOLADATA_APP_KEY=APP_KEY, TARGET_COOLADATA_LOGLEVEL="DEBUG", TAP_COOLAFILE_LOGLEVEL="DEBUG",
    )  # fmt: skip
    assert done.code == 1
    lines = [line for line in done.stderr.splitlines() if "check `app_key`" in line]
    assert len(lines) == 1
    assert APP_KEY not in done.stdout + done.stderr
    assert "DEBUG" in done.stderr or "debug" in done.stderr


def test_the_catalog_can_deselect_what_shall_not_be_loaded(project: Project) -> None:
    project.document["plugins"]["extractors"][0]["select"] = ["events.*", "!events.hidden"]
    project.save()
    project.rows("a.json", EVENT | {"hidden": "x", "open": "y"})
    assert project.run().code == 0
    (event,) = stored(project)
    assert "hidden" not in event
    assert event["open"] == "y"


def test_meltanos_own_test_of_a_plugin_passes_and_sends_nothing(project: Project) -> None:
    project.rows("a.json", EVENT)
    done = project.meltano("config", "test", "tap-coolafile")
    assert done.code == 0, done.stdout + done.stderr
    done = project.meltano("config", "test", "target-cooladata")
    # Meltano 4.4 on Python 3.11 ends the test of every loader with a ProcessLookupError of its own, after this verdict.
    assert "Test data was written to your target system" in done.stderr
    assert done.code == 0 or "ProcessLookupError" in done.stderr
    assert summary(project)["events"] == 0


TAP = {
    "uris": ["in/", "other/*.json"], "stream_name": "clicks", "aws_access_key_id": "a", "aws_secret_access_key": "b",
    "aws_session_token": "c", "aws_profile": "d", "aws_role_arn": "e", "aws_external_id": "f", "aws_region": "g",
    "aws_endpoint_url": "http://127.0.0.1:1", "aws_anonymous": False, "aws_requester_pays": True,
    "transport_params": {"a": {"b": 1}},
    "gcs_credentials_path": "gp", "gcs_user_project": "gu", "gcs_endpoint_url": "http://127.0.0.1:2",
    "gcs_credentials_json": "gj", "gcs_anonymous": False,
    "azure_connection_string": "ac", "azure_account_url": "https://a.example", "azure_account_key": "k",
    "azure_sas_token": "as", "azure_anonymous": False,
    "sftp_password": "p", "sftp_private_key_path": "k", "sftp_private_key_passphrase": "w",
    "sftp_known_hosts_path": "h",
    "start_date": "2012-10-15T00:00:00Z", "lookback_hours": 3, "on_changed_file": "skip", "allow_compressed": True,
    "unwrap_rejects": True,
    "time_zone": "Europe/Berlin", "empty_as_null": False, "on_invalid_row": "skip", "max_invalid_percent": 5,
    "on_bad_file": "stop", "rejects_path": "elsewhere", "max_row_bytes": 5000, "property_types": {"n": "integer"},
    "add_metadata_columns": True, "state_interval_rows": 7, "sample_rows": 8, "request_timeout_seconds": 4,
    "prefetch_files": 2,
    "shard_count": 3,
    "shard_index": 1, "report_path": "report.json",
    "batch_config": {"encoding": {"format": "jsonl", "compression": "none"}, "storage": {"root": "file:///b"}},
}  # fmt: skip
TARGET = {
    "app_key": APP_KEY, "endpoint_url": "https://127.0.0.1:1", "api_version": "v1", "payload_encoding": "data",
    "streams": [{"stream": "s", "event_name": "x"}], "event_time_fallback": "server", "time_zone": "Europe/Berlin",
    "nested_values": "json", "property_names": "reject", "boolean_format": "native", "batch_size_rows": 7,
    "max_batch_bytes": 5000, "max_batch_age_seconds": 9, "max_concurrency": 2, "max_requests_per_second": 8,
    "request_timeout_seconds": 3,
    "max_retry_seconds": 0, "unreadable_200": "fail", "on_reject": "fail", "max_reject_percent": 50,
    "rejects_path": "elsewhere", "journal_path": "here", "batch_root": "b", "dry_run": True,
    "add_record_metadata": True, "run_id_property": "r", "event_id_property": "e",
    "report_path": "report.json",
}  # fmt: skip
READERS = {
    "tap-coolafile": lambda config: load_tap_settings(normalise(config)),
    "target-cooladata": parse,
}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(
        tmp_path_factory.mktemp("configured") / "project", editable=True, tap_coolafile=TAP, target_cooladata=TARGET
    )


def printed(project: Project, plugin: str, **env: str) -> dict[str, t.Any]:
    """The configuration that Meltano hands to a plugin."""
    done = project.meltano("config", "--unsafe", "print", plugin, **env)
    assert done.code == 0, done.stderr
    return t.cast("dict[str, t.Any]", json.loads(re.sub(r"^[^{]*", "", done.stdout)))


@pytest.mark.parametrize(("plugin", "values"), [("tap-coolafile", TAP), ("target-cooladata", TARGET)])
def test_every_setting_can_be_given_in_yaml_and_by_meltanos_environment(
    configured: Project, plugin: str, values: dict[str, t.Any]
) -> None:
    ours = {name for name in declared(plugin) if not name.startswith(("stream_map", "flattening", "faker"))}
    assert set(values) == ours
    read = READERS[plugin]
    from_yaml = read({name: value for name, value in printed(configured, plugin).items() if name in ours})
    kind = "extractors" if plugin.startswith("tap") else "loaders"
    configured.document["plugins"][kind][0]["config"] = {}
    configured.save()
    prefix = plugin.upper().replace("-", "_")
    env = {
        f"{prefix}_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
    from_env = read({name: value for name, value in printed(configured, plugin, **env).items() if name in ours})
    assert from_yaml == from_env
    for name in ours - {"streams"}:
        found = getattr(from_yaml, name)
        assert (list(found) if isinstance(found, tuple) else found) == values[name], name
