"""Settings: declared once, taken as JSON or as text; what cannot be used is refused without its value."""

from __future__ import annotations

import typing as t

import pytest

from tap_coolafile import configuration, settings
from tap_coolafile.exceptions import SettingError

DEFAULTS = {
    name: declared["default"]
    for name, declared in settings.CONFIG_SCHEMA["properties"].items()
    if "default" in declared
}


def load(**config: t.Any) -> configuration.Settings:
    return configuration.load(settings.normalise(DEFAULTS | {"uris": "a/"} | config))


def test_every_declared_setting_is_a_field_and_every_field_is_declared() -> None:
    assert set(configuration.Settings.__struct_fields__) <= set(settings.CONFIG_SCHEMA["properties"])
    own = set(settings._DECLARED.to_dict()["properties"])  # noqa: SLF001 - the declarations are what is tested
    assert own == set(configuration.Settings.__struct_fields__)


def test_every_setting_says_what_it_does() -> None:
    for name, declared in settings.CONFIG_SCHEMA["properties"].items():
        assert declared["description"], name


def test_the_first_value_of_an_enumeration_is_the_default() -> None:
    for declared in settings.CONFIG_SCHEMA["properties"].values():
        if "default" in declared and "enum" in declared:
            assert declared["default"] == declared["enum"][0]


def test_secrets_are_marked() -> None:
    marked = {name for name, declared in settings.CONFIG_SCHEMA["properties"].items() if declared.get("secret")}
    assert {"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "transport_params"} <= marked


@pytest.mark.parametrize(
    ("given", "uris"),
    [
        ("a.json", ("a.json",)),
        (["a.json", "b/"], ("a.json", "b/")),
        ('["a.json", "b/"]', ("a.json", "b/")),
        ("[ab]*.json", ("[ab]*.json",)),
    ],
)
def test_uris_are_one_text_an_array_or_an_array_in_a_text(given: t.Any, uris: tuple[str, ...]) -> None:
    assert load(uris=given).uris == uris


BATCHES = {"encoding": {"format": "jsonl"}, "storage": {"root": "batches"}}


def test_an_empty_text_means_not_set() -> None:
    assert load(shard_count="", start_date="", aws_profile="").shard_count is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"uris": []}, "uris is empty"),
        ({"max_row_bytes": "geheim"}, "max_row_bytes is not a whole number"),
        ({"empty_as_null": "geheim"}, "empty_as_null is neither true nor false"),
        ({"property_types": "geheim"}, "property_types is not a JSON object"),
        ({"start_date": "geheim"}, "start_date is not an ISO 8601 time"),
        ({"time_zone": "Mars/Base"}, "time_zone 'Mars/Base' is not a zone"),
        ({"aws_access_key_id": "geheim"}, "go together"),
        ({"aws_session_token": "geheim"}, "aws_session_token is set without"),
        ({"aws_anonymous": True, "aws_profile": "geheim"}, "choose one"),
        ({"property_types": {"user_id": "number"}}, "property_types names user_id"),
        ({"aws_endpoint_url": "geheim:9000"}, "aws_endpoint_url is not an address with http:// or https:// before it"),
        ({"aws_endpoint_url": "//geheim"}, "aws_endpoint_url is not an address"),
        ({"aws_endpoint_url": "s3://geheim"}, "aws_endpoint_url is not an address"),
        ({"aws_endpoint_url": "http://"}, "aws_endpoint_url is not an address"),
        ({"aws_endpoint_url": "http://a geheim"}, "aws_endpoint_url is not an address"),
        ({"aws_endpoint_url": "http://geheim:x"}, "aws_endpoint_url is not an address"),
        ({"aws_endpoint_url": "http://[geheim"}, "aws_endpoint_url is not an address"),
        ({"rejects_path": "https://geheim/a"}, "rejects_path is neither a folder, nor file:///folder, nor a URI"),
        ({"rejects_path": "file://geheim/a"}, "rejects_path is neither a folder"),
        ({"rejects_path": "sftp://[geheim/a"}, "rejects_path is neither a folder"),
        ({"rejects_path": "s3://"}, "rejects_path is neither a folder"),
        (
            {"batch_config": BATCHES | {"storage": {"root": "file://geheim/"}}},
            "batch_config.storage.root names another",
        ),
        ({"batch_config": BATCHES | {"storage": {"root": "http://[geheim/"}}}, "batch_config.storage.root is on http"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_without_its_value(config: dict[str, t.Any], words: str) -> None:
    with pytest.raises(SettingError, match=words) as caught:
        load(**config)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"max_invalid_percent": 101},
            "max_invalid_percent has a value that cannot be used; expected integer, at least 0",
        ),
        ({"on_bad_file": "geheim"}, "on_bad_file has a value that cannot be used; it is one of continue, stop"),
        ({"aws_secret_access_key": 4711}, "aws_secret_access_key has a value that cannot be used; expected string"),
        ({"property_types": {"a": "geheim"}}, "property_types.a has a value"),
    ],
)
def test_what_breaks_the_schema_is_refused_by_name_without_its_value(config: dict[str, t.Any], words: str) -> None:
    (problem,) = settings.problems({"uris": "a/"} | config, settings.CONFIG_SCHEMA)
    assert words in problem
    assert "geheim" not in problem
    assert "4711" not in problem


def test_a_missing_setting_is_named() -> None:
    assert settings.problems({}, settings.CONFIG_SCHEMA) == ["uris is required and not set"]
