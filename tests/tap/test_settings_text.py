"""Every setting as text: in a configuration, as Meltano hands it over, and in the environment, by `--config=ENV`."""

from __future__ import annotations

import json
import typing as t

import pytest

from tap_coolafile import configuration
from tap_coolafile.tap import TapCoolaFile
from tests.tap.conftest import checked

if t.TYPE_CHECKING:
    from pathlib import Path

BATCHES = {"encoding": {"format": "jsonl"}, "storage": {"root": "batches"}}
MAPS = {"events": {"n": "int(note)", "__filter__": "n > 1"}}

TEXTS: dict[str, tuple[str, t.Any]] = {
    "uris": ('["a.json", "s3://bucket/in/"]', ("a.json", "s3://bucket/in/")),
    "stream_name": ("orders", "orders"),
    "aws_access_key_id": ("AKIA1", "AKIA1"),
    "aws_secret_access_key": ("a/b+c=", "a/b+c="),
    "aws_session_token": ("tok#en", "tok#en"),
    "aws_profile": ("work", "work"),
    "aws_role_arn": ("arn:aws:iam::1:role/r", "arn:aws:iam::1:role/r"),
    "aws_external_id": ("123", "123"),
    "aws_region": ("eu-west-1", "eu-west-1"),
    "aws_endpoint_url": ("http://localhost:9000", "http://localhost:9000"),
    "aws_anonymous": ("true", True),
    "aws_requester_pays": ("1", True),
    "gcs_credentials_path": ("~/key.json", "~/key.json"),
    "gcs_credentials_json": ('{"type": "service_account"}', '{"type": "service_account"}'),
    "gcs_anonymous": ("true", True),
    "gcs_user_project": ("42", "42"),
    "gcs_endpoint_url": ("http://localhost:4443", "http://localhost:4443"),
    "azure_connection_string": ("UseDevelopmentStorage=true", "UseDevelopmentStorage=true"),
    "azure_account_url": ("https://shop.blob.core.windows.net", "https://shop.blob.core.windows.net"),
    "azure_account_key": ("a/b+c==", "a/b+c=="),
    "azure_sas_token": ("sv=1&sig=a%2Fb", "sv=1&sig=a%2Fb"),
    "azure_anonymous": ("true", True),
    "sftp_password": ("007", "007"),
    "sftp_private_key_path": ("~/.ssh/id", "~/.ssh/id"),
    "sftp_private_key_passphrase": ("open {sesame}", "open {sesame}"),
    "sftp_known_hosts_path": ("hosts", "hosts"),
    "transport_params": ('{"timeout": 1.5}', {"timeout": 1.5}),
    "start_date": ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    "lookback_hours": ("0", 0),
    "on_changed_file": ("reload", "reload"),
    "allow_compressed": ("yes", True),
    "unwrap_rejects": ("on", True),
    "time_zone": ("Europe/Berlin", "Europe/Berlin"),
    "empty_as_null": ("False", False),
    "on_invalid_row": ("skip", "skip"),
    "max_invalid_percent": ("100", 100),
    "on_bad_file": ("stop", "stop"),
    "rejects_path": ("elsewhere", "elsewhere"),
    "max_row_bytes": ("17", 17),
    "property_types": ('{"a": "string"}', {"a": "string"}),
    "add_metadata_columns": ("True", True),
    "state_interval_rows": ("7", 7),
    "sample_rows": ("0", 0),
    "request_timeout_seconds": ("5", 5),
    "prefetch_files": ("64", 64),
    "shard_count": ("3", 3),
    "shard_index": ("0", 0),
    "report_path": ("report.json", "report.json"),
    "batch_config": (json.dumps(BATCHES), BATCHES),
    "stream_maps": (json.dumps(MAPS), MAPS),
    "stream_map_config": ('{"hash_seed": "01"}', {"hash_seed": "01"}),
    "faker_config": ('{"locale": ["en_US"]}', {"locale": ["en_US"]}),
    "flattening_enabled": ("true", True),
    "flattening_max_depth": ("2", 2),
    "flattening_max_key_length": ("40", 40),
    "flattening_separator": ("__", "__"),
}
"""For each setting a text, and the value it stands for, which is never the default."""

BESIDE: dict[str, tuple[str, ...]] = {
    "azure_account_key": ("azure_account_url",),
    "azure_sas_token": ("azure_account_url",),
    "azure_anonymous": ("azure_account_url",),
    "shard_index": ("shard_count",),
    "shard_count": ("shard_index",),
    "aws_access_key_id": ("aws_secret_access_key",),
    "aws_secret_access_key": ("aws_access_key_id",),
    "aws_session_token": ("aws_access_key_id", "aws_secret_access_key"),
}
"""The settings that one cannot be given without."""


def given(name: str) -> dict[str, str]:
    """Return the texts of a setting, of `uris`, and of those it cannot be given without."""
    return {setting: TEXTS[setting][0] for setting in ("uris", *BESIDE.get(name, ()), name)}


def test_every_setting_has_a_text_and_a_value_that_is_not_its_default() -> None:
    TapCoolaFile.append_builtin_config(TapCoolaFile.config_jsonschema)
    declared = TapCoolaFile.config_jsonschema["properties"]
    assert set(TEXTS) == set(declared)
    assert [name for name, (_, value) in TEXTS.items() if declared[name].get("default") == value] == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_setting_may_be_given_in_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for setting, text in given(name).items():
        monkeypatch.setenv(f"TAP_COOLAFILE_{setting.upper()}", text)
    tap = TapCoolaFile(parse_env_config=True, setup_mapper=False)
    found = getattr(tap.settings, name) if name in configuration.Settings.__struct_fields__ else tap.config[name]
    assert (found, type(found)) == (TEXTS[name][1], type(TEXTS[name][1]))


@pytest.mark.parametrize("name", configuration.Settings.__struct_fields__)
def test_every_setting_may_be_given_as_text(name: str) -> None:
    assert getattr(checked("a/", **given(name)), name) == TEXTS[name][1]


def test_uris_may_be_one_uri_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAP_COOLAFILE_URIS", "[ab]*.json")
    assert TapCoolaFile(parse_env_config=True, setup_mapper=False).settings.uris == ("[ab]*.json",)


def test_an_empty_text_in_the_environment_means_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in TEXTS:
        monkeypatch.setenv(f"TAP_COOLAFILE_{name.upper()}", "")
    monkeypatch.setenv("TAP_COOLAFILE_URIS", "a/")
    assert TapCoolaFile(parse_env_config=True, setup_mapper=False).settings == checked("a/")
