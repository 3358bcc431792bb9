"""Who asks Google Cloud Storage, and how: in go `gcs_*` settings, out comes a client and the session it asks by."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import requests.adapters

from tap_coolafile.exceptions import SettingError

try:
    import google.auth
    import google.auth.credentials
    import google.auth.exceptions
    import google.auth.transport.requests
    import google.cloud.storage
    import google.oauth2.credentials
    import google.oauth2.service_account
except ImportError:
    missing = "gs:// needs google-cloud-storage: pip install 'tap-coolafile[gcs]'"
    raise SettingError(missing) from None

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)  # rejects may be kept there too
_CONNECTIONS = 64


def session(settings: Settings) -> google.auth.transport.requests.AuthorizedSession:
    """Return a session that signs each request as the settings say; nothing is asked yet.

    Raises:
        SettingError: the credentials in the settings cannot be read.
        GoogleAuthError: there are none in the settings, and none where Google's libraries look.
    """
    made = google.auth.transport.requests.AuthorizedSession(_credentials(settings))
    for scheme in ("https://", "http://"):
        made.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return made


def client(
    settings: Settings, by: google.auth.transport.requests.AuthorizedSession | None = None
) -> google.cloud.storage.Client:
    """Return a client that asks by a session, or by one of its own.

    Raises:
        SettingError: as `session`.
        GoogleAuthError: as `session`.
    """
    by = by or session(settings)
    options = {"api_endpoint": settings.gcs_endpoint_url} if settings.gcs_endpoint_url else None
    # Unless told not to, the library asks for the bucket itself too, a right that reading its objects does not need.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    # No project, as none is needed to read; the library would look for one in many places.
    return google.cloud.storage.Client(project=None, credentials=by.credentials, client_options=options, _http=by)


def _credentials(settings: Settings) -> google.auth.credentials.Credentials:
    if settings.gcs_anonymous:
        return google.auth.credentials.AnonymousCredentials()
    if settings.gcs_credentials_json:
        return _from_key(settings.gcs_credentials_json, "gcs_credentials_json")
    if settings.gcs_credentials_path:
        try:
            text = Path(settings.gcs_credentials_path).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            msg = f"gcs_credentials_path: {settings.gcs_credentials_path} cannot be read: {why}"
            raise SettingError(msg) from None
        return _from_key(text, "gcs_credentials_path")
    return google.auth.default(scopes=_SCOPES)[0]


def _from_key(text: str, setting: str) -> google.auth.credentials.Credentials:
    """Read a service account's key, or what `gcloud auth application-default login` writes for a user."""
    try:
        key = json.loads(text)
        if key.get("type") == "authorized_user":
            user = google.oauth2.credentials.Credentials.from_authorized_user_info(key, scopes=_SCOPES)
            return t.cast("google.auth.credentials.Credentials", user)
        account = google.oauth2.service_account.Credentials.from_service_account_info(key, scopes=_SCOPES)
        return t.cast("google.auth.credentials.Credentials", account)
    except (ValueError, AttributeError, google.auth.exceptions.GoogleAuthError):  # their words may quote the key
        msg = (
            f"{setting} holds no key of a service account, as Google's console gives it (JSON with type, client_email, "
            f"private_key and token_uri); other kinds go into a file that GOOGLE_APPLICATION_CREDENTIALS names"
        )
        raise SettingError(msg) from None
