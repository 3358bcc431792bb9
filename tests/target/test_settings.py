from __future__ import annotations

import typing as t

import pytest
from singer_sdk.exceptions import ConfigValidationError

from target_cooladata.configuration import parse
from target_cooladata.exceptions import SettingsError
from target_cooladata.settings import SCHEMA, Settings, StreamSettings
from target_cooladata.target import TargetCoolaData
from tests.commands import run
from tests.singer import APP_KEY


def settings(**given: t.Any) -> Settings:
    return parse(TargetCoolaData(config={"app_key": APP_KEY, **given}).config)


def test_every_setting_has_a_place_and_a_description() -> None:
    ours = {name for name in SCHEMA["properties"] if not name.startswith(("stream_map", "flattening", "faker"))}
    assert ours == set(Settings.__struct_fields__)
    assert all(SCHEMA["properties"][name].get("description") for name in ours)


def test_the_defaults_are_those_of_the_design() -> None:
    found = settings()
    assert (found.endpoint_url, found.api_version, found.payload_encoding) == ("https://api.cooladata.com", "v3", "raw")
    assert (found.batch_size_rows, found.max_batch_bytes, found.max_concurrency) == (300, 1_000_000, 16)
    assert (found.unreadable_200, found.on_reject, found.event_time_fallback) == ("retry", "quarantine", "reject")


def test_a_setting_that_is_null_has_its_default() -> None:
    assert settings(batch_size_rows=None, streams=None).batch_size_rows == 300


MAPPING = {"event_name": "order", "user_id_property": "customer_id"}


@pytest.mark.parametrize(
    "streams",
    [
        {"orders": MAPPING},
        [{"stream": "orders", **MAPPING}],
        '{"orders": {"event_name": "order", "user_id_property": "customer_id"}}',
        '[{"stream": "orders", "event_name": "order", "user_id_property": "customer_id"}]',
    ],
    ids=["object", "list", "object as text", "list as text"],
)
def test_streams_are_given_by_name_or_as_a_list_or_as_text(streams: object) -> None:
    assert settings(streams=streams).streams == {"orders": StreamSettings(**MAPPING)}  # type: ignore[arg-type]  # texts


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"app_key": None}, "app_key: needed"),
        ({"app_key": "a/b"}, "app_key: expected letters and digits"),
        ({"endpoint_url": "api.cooladata.com"}, "endpoint_url: expected https://HOST"),
        ({"endpoint_url": "http://api.cooladata.com"}, "plain http is for loopback only"),
        ({"endpoint_url": "https://u:p@host"}, "without user"),
        ({"endpoint_url": "sandbox:"}, "expected a path after `sandbox:`"),
        ({"time_zone": "Mars/Olympus"}, "time_zone: 'Mars/Olympus'"),
        ({"streams": "nonsense"}, "streams: expected an object or a list"),
        ({"streams": [{"event_name": "x"}]}, "each item of the list needs `stream`"),
        ({"streams": {"a": {"user_id": "x"}}}, "the mapping of 'a' is not understood"),
        ({"streams": {"a": 3}}, "the mapping of 'a' is not understood"),
        ({"streams": 3}, "3 is not of type"),
        ({"streams": [{"stream": "a"}, {"stream": "a"}]}, "more than one item"),
        ({"streams": {"a": {"user_properties": ["x"], "session_properties": ["x"]}}}, "expected one scope"),
        ({"stream_maps": {"__else__": "x"}}, "stream_maps: `__else__`"),
        ({"run_id_property": "my run"}, "run_id_property: 'my run'"),
        ({"event_id_property": "event_id"}, "try load_event_id"),
        ({"batch_size_rows": 301}, "301 is greater than the maximum of 300"),
        ({"batch_size_rows": "many"}, "'many' is not of type"),
        ({"unreadable_200": "maybe"}, "'maybe' is not one of"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_used_is_refused_with_words(given: dict[str, t.Any], words: str) -> None:
    with pytest.raises((SettingsError, ConfigValidationError)) as refusal:
        settings(**given)
    said = [str(refusal.value), *getattr(refusal.value, "errors", [])]
    assert any(words in sentence for sentence in said)


def test_plain_http_is_taken_on_loopback() -> None:
    assert settings(endpoint_url="http://127.0.0.1:8765").endpoint_url == "http://127.0.0.1:8765"


def test_a_refused_app_key_is_not_quoted() -> None:
    with pytest.raises(ConfigValidationError) as refusal:
        settings(app_key=12345678)
    assert refusal.value.errors == ["expected text in config['app_key']"]


@pytest.mark.parametrize("given", [{"stream_map_config": "s3cr3t"}, {"stream_maps": {"s": {"x": ["s3cr3t"]}}}], ids=str)
def test_what_is_given_to_stream_maps_is_not_quoted(given: dict[str, t.Any]) -> None:
    with pytest.raises(ConfigValidationError) as refusal:
        settings(**given)
    assert "s3cr3t" not in str(refusal.value.errors)
    assert f"config['{next(iter(given))}']" in refusal.value.errors[0]


def test_every_setting_can_come_from_the_environment() -> None:
    values = {
        "APP_KEY": APP_KEY, "ENDPOINT_URL": "https://127.0.0.1:1", "API_VERSION": "v1", "PAYLOAD_ENCODING": "data",
        "STREAMS": '[{"stream": "s", "event_name": "x"}]', "EVENT_TIME_FALLBACK": "server",
        "TIME_ZONE": "Europe/Berlin", "NESTED_VALUES": "json", "PROPERTY_NAMES": "reject",
        "BOOLEAN_FORMAT": "native", "BATCH_SIZE_ROWS": "7",
        "MAX_BATCH_BYTES": "5000", "MAX_BATCH_AGE_SECONDS": "9", "MAX_CONCURRENCY": "2", "MAX_REQUESTS_PER_SECOND": "8",
        "REQUEST_TIMEOUT_SECONDS": "3",
        "MAX_RETRY_SECONDS": "0", "UNREADABLE_200": "fail", "ON_REJECT": "fail", "MAX_REJECT_PERCENT": "50",
        "REJECTS_PATH": "elsewhere", "JOURNAL_PATH": "here", "DRY_RUN": "True",
        "BATCH_ROOT": "b", "ADD_RECORD_METADATA": "True", "RUN_ID_PROPERTY": "r", "EVENT_ID_PROPERTY": "e",
        "REPORT_PATH": "report.json",
    }  # fmt: skip
    assert {name.lower() for name in values} == set(Settings.__struct_fields__)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(f"TARGET_COOLADATA_{name}", value)
        found = parse(TargetCoolaData(parse_env_config=True).config)
    for name, value in values.items():
        if name != "STREAMS":
            assert str(getattr(found, name.lower())) == value
    assert found.streams == {"s": StreamSettings(event_name="x")}


@pytest.mark.parametrize("name", ["BATCH_SIZE_ROWS", "STREAM_MAPS", "DRY_RUN", "FLATTENING_ENABLED"])
def test_an_environment_variable_that_cannot_be_read_is_named(name: str) -> None:
    done = run("target-cooladata", "--config=ENV", env={f"TARGET_COOLADATA_{name}": "nonsense"})
    assert done.code == 1
    assert f"TARGET_COOLADATA_{name}" in done.complaints[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [None, "not json", "[]"])
def test_a_configuration_file_that_cannot_be_read_is_named(content: str | None, tmp_path: t.Any) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    done = run("target-cooladata", "--config", path)
    assert done.code == 1
    assert str(path) in done.complaints[0]
    assert "Traceback" not in done.stderr


def test_a_setting_that_is_not_known_is_named() -> None:
    done = run("target-cooladata", "--config=ENV", env={"TARGET_COOLADATA_APP_KEY": "a b"})
    assert done.code == 1
    assert done.complaints == ["app_key: expected letters and digits only; check for blanks or quotes around the key"]
