"""Who asks Azure Blob Storage, and how: in go `azure_*` settings, out comes a client; nothing is asked yet."""

from __future__ import annotations

import base64
import os
import typing as t

import requests
import requests.adapters

from tap_coolafile.exceptions import SettingError

try:
    import azure.storage.blob
    from azure.core.pipeline.transport import RequestsTransport
except ImportError:
    missing = "azure:// needs azure-storage-blob: pip install 'tap-coolafile[azure]'"
    raise SettingError(missing) from None

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings

_CONNECT_S = 10
_CONNECTIONS = 64
_NOBODY = (
    "azure:// has nobody to sign in as: set azure_connection_string, or azure_account_url with azure_account_key, "
    "azure_sas_token or azure_anonymous; with azure_account_url alone, install azure-identity"
)


def client(settings: Settings) -> azure.storage.blob.BlobServiceClient:
    """Return a client that signs each request as the settings say.

    Raises:
        SettingError: they say nothing that can be used.
    """
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    how: dict[str, t.Any] = {
        "transport": RequestsTransport(session=session),
        "retry_policy": azure.storage.blob.LinearRetry(retry_total=0),  # its pauses are long; see remote.Patience
        "connection_timeout": _CONNECT_S,
        "read_timeout": settings.request_timeout_seconds,
    }
    words = settings.azure_connection_string
    if not words and not settings.azure_account_url:
        words = os.environ.get("AZURE_STORAGE_CONNECTION_STRING")
    _check_keys(settings, words)
    try:
        if words:
            return azure.storage.blob.BlobServiceClient.from_connection_string(words, **how)
        if settings.azure_account_url:
            credential = _credential(settings)
            return azure.storage.blob.BlobServiceClient(settings.azure_account_url, credential=credential, **how)
    except (ValueError, TypeError):  # their words may quote what was given
        given = "azure_connection_string" if words else "azure_account_url and its credentials"
        msg = f"{given} cannot be used; copy it from the account's page in the Azure portal"
        raise SettingError(msg) from None
    raise SettingError(_NOBODY)


def _check_keys(settings: Settings, words: str | None) -> None:
    """Refuse a key that is not base64: the client would find out at the first request, and say another thing."""
    given = "azure_connection_string" if words else "azure_account_key"
    parts = dict(part.strip().partition("=")[::2] for part in (words or "").split(";"))
    keys = (
        [key for name, key in parts.items() if name.lower() == "accountkey"] if words else [settings.azure_account_key]
    )
    try:
        for key in keys:
            base64.b64decode(key or "")
    except ValueError:  # its words may quote the key
        msg = f"{given} holds a key that is not base64; copy it whole from the account's page in the Azure portal"
        raise SettingError(msg) from None


def _credential(settings: Settings) -> t.Any:
    if settings.azure_anonymous:
        return None
    if settings.azure_account_key or settings.azure_sas_token:
        return settings.azure_account_key or settings.azure_sas_token
    try:
        import azure.identity  # noqa: PLC0415 - not everybody has it, and it is slow to load
    except ImportError:
        raise SettingError(_NOBODY) from None
    return azure.identity.DefaultAzureCredential()
