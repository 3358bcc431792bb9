"""A configuration as the SDK hands it over, to one typed `Settings`.

In: what has passed `settings.SCHEMA`. Out: `Settings`. Refused, with the name of the setting, what was expected, and
never the value of a secret: what no run could work with.
"""

from __future__ import annotations

import re
import typing as t
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from target_cooladata import names
from target_cooladata.exceptions import SettingsError
from target_cooladata.settings import API_URL, LOOPBACK, SCHEMA, Settings, StreamSettings

# The key is one segment of the URL path; every public sample is 32 of [a-z0-9], but no page fixes that.
_APP_KEY = re.compile(r"[A-Za-z0-9._~-]+")


def parse(config: t.Mapping[str, t.Any]) -> Settings:
    """Read a configuration that has passed `SCHEMA`.

    Raises:
        SettingsError: with one sentence for the first thing that is wrong.
    """
    known = {name: value for name, value in config.items() if name in SCHEMA["properties"] and value is not None}
    known["streams"] = _streams(known.get("streams") or {})
    settings = msgspec.convert(known, Settings)
    _check_zone(settings.time_zone)
    for setting in ("run_id_property", "event_id_property"):
        _check_property(setting, getattr(settings, setting))
    _check_endpoint(settings)
    return settings


def _streams(value: object) -> dict[str, StreamSettings]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            msg = (
                f"streams: expected an object or a list, or one of them as JSON text, but the text is no JSON ({error})"
            )
            raise SettingsError(msg) from None
    if isinstance(value, list):
        items = [_named(item) for item in value]
        value = dict(items)
        if len(value) < len(items):
            msg = "streams: a stream has more than one item in the list; expected one for each stream"
            raise SettingsError(msg)
    if not isinstance(value, dict):
        msg = "streams: expected an object by stream name, or a list whose items have `stream`"
        raise SettingsError(msg)
    return {name: _stream(name, item) for name, item in value.items()}


def _named(item: object) -> tuple[str, dict[str, t.Any]]:
    if not isinstance(item, dict) or not isinstance(item.get("stream"), str):
        msg = "streams: each item of the list needs `stream`, the name of the stream it is for"
        raise SettingsError(msg)
    return item["stream"], {key: value for key, value in item.items() if key != "stream"}


def _stream(name: str, item: object) -> StreamSettings:
    try:
        mapping = msgspec.convert(item, StreamSettings)
    except msgspec.ValidationError as error:
        known = ", ".join(StreamSettings.__struct_fields__)
        msg = f"streams: the mapping of {name!r} is not understood: {error}; it takes {known}"
        raise SettingsError(msg) from None
    twice = sorted(set(mapping.user_properties).intersection(mapping.session_properties))
    if twice:
        msg = (
            f"streams: {twice[0]!r} of {name!r} is in `user_properties` and in `session_properties`; expected one scope"
        )
        raise SettingsError(msg)
    return mapping


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        msg = f"time_zone: {name!r} is not an IANA time zone known here, such as UTC or Europe/Berlin"
        raise SettingsError(msg) from None


def _check_property(setting: str, name: str | None) -> None:
    # event_id is CoolaData's own, for matching answers to events.
    if name is not None and (not names.is_allowed(name) or name.lower() == "event_id"):
        proposal = f"load_{setting.removesuffix('_property')}"
        msg = f"{setting}: {name!r} is no name for a property in CoolaData, or its own; try {proposal}"
        raise SettingsError(msg)


def _check_endpoint(settings: Settings) -> None:
    path = settings.sandbox_path
    if path is not None:
        if not path:
            msg = "endpoint_url: expected a path after `sandbox:`, for example sandbox:output/sandbox.db"
            raise SettingsError(msg)
    else:
        _check_url(settings.endpoint_url)
        if not settings.app_key and not settings.dry_run:
            msg = "app_key: needed to load into CoolaData (Project settings / Tracking page); the sandbox needs none"
            raise SettingsError(msg)
    if settings.app_key and not _APP_KEY.fullmatch(settings.app_key):
        msg = "app_key: expected letters and digits only; check for blanks or quotes around the key"
        raise SettingsError(msg)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # a port that is no number, or half of an IPv6 address
        parts = urlsplit("")
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        msg = f"endpoint_url: expected https://HOST, http://127.0.0.1:PORT or sandbox:PATH, for example {API_URL}"
        raise SettingsError(msg)
    if parts.username or parts.query or parts.fragment:
        msg = "endpoint_url: expected scheme, host, port and path alone, without user, query or fragment"
        raise SettingsError(msg)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        msg = (
            "endpoint_url: plain http is for loopback only, because anyone on the way could read the app key and the "
            f"events; use https://{parts.hostname}"
        )
        raise SettingsError(msg)
