"""Why Google Cloud Storage said no: in goes an exception of its client, out comes one sentence with settings to check.

A call is named by the permission it needs, such as `storage.objects.list`, since that is what its owner can grant.
"""

from __future__ import annotations

import typing as t

import google.api_core.exceptions
import google.auth.exceptions
import requests

from tap_coolafile.exceptions import StorageError, TapError
from tap_coolafile.sources.refusals import Call, object_refusal

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings

FAILURE = (
    google.api_core.exceptions.GoogleAPIError,
    google.auth.exceptions.GoogleAuthError,
    requests.RequestException,
)
AWAY = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    google.auth.exceptions.TransportError,
)
BUSY = (google.api_core.exceptions.TooManyRequests, google.api_core.exceptions.ServerError)


def raise_for(response: requests.Response) -> None:
    """Raise what the client would for an answer that is a refusal."""
    if not response.ok:
        raise google.api_core.exceptions.from_http_response(response)


def refusal(error: Exception, call: Call, settings: Settings) -> TapError:
    """Turn an exception of Google's client into one of ours; its own words, which may quote tokens, are left out.

    Of the settings, only which of them are set is told, never a value.
    """
    if isinstance(error, google.api_core.exceptions.GoogleAPICallError):
        told = object_refusal(error.code or 0, call.name, literal=call.literal) if call.name else None
        return told or StorageError(f"bucket {call.place}: {_from_answer(error, call.what, settings)}")
    return StorageError(f"bucket {call.place}: {_before_an_answer(error, call.what, settings)}")


def _from_answer(error: google.api_core.exceptions.GoogleAPICallError, call: str, settings: Settings) -> str:
    code = error.code or 0
    if "user project" in (error.message or ""):
        return f"{call} was denied, as whoever asks has to pay; set gcs_user_project to the project that does"
    if isinstance(error, google.api_core.exceptions.NotFound):
        return "the bucket does not exist; check uris and gcs_endpoint_url"
    if isinstance(error, google.api_core.exceptions.Unauthorized):
        return f"{call} was denied (HTTP {code}): the credentials are not valid; {_advice(settings)}"
    if isinstance(error, google.api_core.exceptions.Forbidden):
        return f"{call} was denied (HTTP {code}): the right to it is missing; {_advice(settings)}"
    if isinstance(error, BUSY):
        return f"{call} failed (HTTP {code}), also after waiting: the server is busy; run again later"
    return f"{call} failed (HTTP {code}); check uris and the gcs_* settings"


def _before_an_answer(error: Exception, call: str, settings: Settings) -> str:
    if isinstance(error, google.auth.exceptions.DefaultCredentialsError):
        return f"no credentials were found; {_advice(settings)}"
    if isinstance(error, google.auth.exceptions.TransportError | requests.ConnectionError | requests.Timeout):
        return f"the server cannot be reached for {call}; check gcs_endpoint_url and the network"
    if isinstance(error, google.auth.exceptions.RefreshError):
        if "reasonable timeframe" in str(error):
            return "this machine's clock differs too much from Google's, which refuses to sign in; set the clock"
        return f"Google refuses to sign in with the credentials; {_advice(settings)}"
    return f"{call} failed ({type(error).__name__}); {_advice(settings)}"


def _advice(settings: Settings) -> str:
    """Name the settings that decide who asks, as the run has them."""
    if settings.gcs_anonymous:
        return "gcs_anonymous is true, so the bucket must be public; else unset it and give credentials"
    if settings.gcs_credentials_json or settings.gcs_credentials_path:
        given = "gcs_credentials_json" if settings.gcs_credentials_json else "gcs_credentials_path"
        return f"check {given} and the roles of its account"
    return (
        "set gcs_credentials_path or gcs_credentials_json, sign in with gcloud auth application-default login, or set "
        "gcs_anonymous for a public bucket"
    )
