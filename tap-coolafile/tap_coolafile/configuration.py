"""What a run works with: in goes a configuration whose values have their types, out comes a `Settings`, checked.

Refuses, in one sentence naming the setting, a value that cannot be used, alone or beside another.
"""

from __future__ import annotations

import datetime as dt
import re
import typing as t
import urllib.parse
import zoneinfo

import msgspec

from tap_coolafile.batches import batch_settings
from tap_coolafile.exceptions import SettingError

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_HOST = re.compile(r"[A-Za-z0-9._:-]+")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings a run works with, checked; names and units as settings.py declares them."""

    uris: tuple[str, ...]
    stream_name: str
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = None
    aws_session_token: str | None = None
    aws_profile: str | None = None
    aws_role_arn: str | None = None
    aws_external_id: str | None = None
    aws_region: str | None = None
    aws_endpoint_url: str | None = None
    aws_anonymous: bool
    aws_requester_pays: bool
    gcs_credentials_path: str | None = None
    gcs_credentials_json: str | None = None
    gcs_anonymous: bool
    gcs_user_project: str | None = None
    gcs_endpoint_url: str | None = None
    azure_connection_string: str | None = None
    azure_account_url: str | None = None
    azure_account_key: str | None = None
    azure_sas_token: str | None = None
    azure_anonymous: bool
    sftp_password: str | None = None
    sftp_private_key_path: str | None = None
    sftp_private_key_passphrase: str | None = None
    sftp_known_hosts_path: str
    transport_params: dict[str, t.Any]
    start_date: str | None = None
    lookback_hours: int
    on_changed_file: str
    allow_compressed: bool
    unwrap_rejects: bool
    time_zone: str
    empty_as_null: bool
    on_invalid_row: str
    max_invalid_percent: int
    on_bad_file: str
    rejects_path: str
    max_row_bytes: int
    property_types: dict[str, str]
    add_metadata_columns: bool
    state_interval_rows: int
    sample_rows: int
    request_timeout_seconds: int
    prefetch_files: int
    shard_count: int | None = None
    shard_index: int | None = None
    report_path: str | None = None
    batch_config: dict[str, t.Any] | None = None

    @property
    def start_ms(self) -> int | None:
        """`start_date` as milliseconds since 1970 UTC, or None."""
        if self.start_date is None:
            return None
        when = dt.datetime.fromisoformat(self.start_date)
        if when.tzinfo is None:
            when = when.replace(tzinfo=dt.UTC)
        return int(when.timestamp() * 1000)


def load(config: t.Mapping[str, t.Any]) -> Settings:
    """Check a normalised, schema-valid configuration and name its parts.

    Raises:
        SettingError: a value, alone or beside another, cannot be used.
    """
    known = {name: config[name] for name in Settings.__struct_fields__ if config.get(name) is not None}
    known["uris"] = tuple(known.get("uris", ()))
    settings = Settings(**known)
    if not settings.uris or not all(settings.uris):
        msg = "uris is empty: give at least one file, prefix ending in '/', or glob"
        raise SettingError(msg)
    _check_start_date(settings)
    _check_zone(settings.time_zone)
    _check_keys(settings)
    _check_gcs(settings)
    _check_azure(settings)
    _check_endpoint("aws_endpoint_url", settings.aws_endpoint_url, is_signed=True)
    _check_rejects_path(settings.rejects_path)
    _check_properties(settings)
    if settings.batch_config is not None:
        batch_settings(settings.batch_config)
    return settings


def _check_start_date(settings: Settings) -> None:
    try:
        _ = settings.start_ms
    except ValueError:
        msg = "start_date is not an ISO 8601 time such as 2024-01-31T00:00:00Z"
        raise SettingError(msg) from None


def _check_zone(name: str) -> None:
    try:
        zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        msg = f"time_zone {name!r} is not a zone of the IANA database, such as UTC or Europe/Berlin"
        raise SettingError(msg) from None


def _check_keys(settings: Settings) -> None:
    if bool(settings.aws_access_key_id) != bool(settings.aws_secret_access_key):
        msg = "aws_access_key_id and aws_secret_access_key go together: only one of them is set"
        raise SettingError(msg)
    if settings.aws_session_token and not settings.aws_access_key_id:
        msg = "aws_session_token is set without aws_access_key_id and aws_secret_access_key"
        raise SettingError(msg)
    signed = (settings.aws_access_key_id, settings.aws_profile, settings.aws_role_arn)
    if settings.aws_anonymous and any(signed):
        msg = "aws_anonymous is true while aws_access_key_id, aws_profile or aws_role_arn is set; choose one"
        raise SettingError(msg)


def _check_gcs(settings: Settings) -> None:
    if settings.gcs_anonymous and (settings.gcs_credentials_path or settings.gcs_credentials_json):
        msg = "gcs_anonymous is true while gcs_credentials_path or gcs_credentials_json is set; choose one"
        raise SettingError(msg)
    _check_endpoint("gcs_endpoint_url", settings.gcs_endpoint_url)


def _check_azure(settings: Settings) -> None:
    signed = settings.azure_account_key or settings.azure_sas_token
    if settings.azure_anonymous and (signed or settings.azure_connection_string):
        msg = (
            "azure_anonymous is true while azure_connection_string, azure_account_key or azure_sas_token is set; "
            "choose one"
        )
        raise SettingError(msg)
    if (signed or settings.azure_anonymous) and not (settings.azure_account_url or settings.azure_connection_string):
        msg = (
            "azure_account_key, azure_sas_token and azure_anonymous need azure_account_url, such as "
            "https://NAME.blob.core.windows.net"
        )
        raise SettingError(msg)
    if "?" in (settings.azure_account_url or ""):
        msg = "azure_account_url ends before its '?'; give what follows in azure_sas_token"
        raise SettingError(msg)
    _check_endpoint("azure_account_url", settings.azure_account_url)
    for part in (settings.azure_connection_string or "").split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "blobendpoint":
            _check_endpoint("azure_connection_string", value)


def _check_endpoint(name: str, url: str | None, *, is_signed: bool = False) -> None:
    if url is None:
        return
    try:
        parts = urllib.parse.urlsplit(url)
        scheme, host = parts.scheme, parts.hostname or ""
        usable = scheme in {"http", "https"} and _HOST.fullmatch(host) and parts.port != 0
    except ValueError:  # a port that is no number, or half of an IPv6 address
        usable = False
    if not usable:
        msg = f"{name} is not an address with http:// or https:// before it, such as https://host or http://localhost:9000"
        raise SettingError(msg)
    if scheme == "http" and host not in _LOOPBACK and not is_signed:
        msg = f"{name}: plain http is for loopback only, because anyone on the way could read keys and rows; use https"
        raise SettingError(msg)


def _check_rejects_path(path: str) -> None:
    scheme, found, rest = path.partition("://")
    if not found:
        return
    try:
        place = urllib.parse.urlsplit(path).netloc
    except ValueError:  # half of an IPv6 address
        place = ""
    if scheme.lower() in {"http", "https"} or not (rest.startswith("/") if scheme.lower() == "file" else place):
        msg = (
            "rejects_path is neither a folder, nor file:///folder, nor a URI to write below, such as s3://bucket/folder"
        )
        raise SettingError(msg)


def _check_properties(settings: Settings) -> None:
    fixed = {"event_name", "user_id", "event_time_ts"} & set(settings.property_types)
    if fixed:
        msg = f"property_types names {min(fixed)}, whose type CoolaData fixes; only custom properties can be typed"
        raise SettingError(msg)
