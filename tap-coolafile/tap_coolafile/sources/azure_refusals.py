"""Why Azure Blob Storage said no: in goes an exception of its client, out comes one sentence with settings to check."""

from __future__ import annotations

import time
import typing as t

import azure.core.exceptions
import requests

from tap_coolafile.exceptions import ArchivedFileError, StorageError, TapError
from tap_coolafile.sources.refusals import Call, object_refusal
from tap_coolafile.sources.remote import date_ms

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings

AWAY = (
    azure.core.exceptions.ServiceRequestError,
    azure.core.exceptions.ServiceResponseError,
    requests.RequestException,
)
_TOLERANCE_MS = 15 * 60 * 1000  # "Authorize requests to Azure Storage": no older than 15 minutes
_T = t.TypeVar("_T")
_BUSY = (408, 429, 500, 502, 503, 504)
_DENIED = {
    "AuthenticationFailed": "the key or signature is not valid, or expired",
    "InvalidAuthenticationInfo": "the key or signature is not valid, or expired",
    "NoAuthenticationInformation": "the container is not public",
    "PublicAccessNotPermitted": "the account allows no public access",
    "ResourceNotFound": "the container does not exist, or is not public",
    "AuthorizationFailure": "the key or signature is not valid for it, or the account's firewall is closed",
    "AuthorizationPermissionMismatch": "the right to it is missing",
    "AuthorizationResourceTypeMismatch": "the signature is for another kind of thing",
    "AuthorizationProtocolMismatch": "the signature is for https alone",
    "AuthorizationSourceIPMismatch": "the signature is for another network address",
    "InsufficientAccountPermissions": "the right to it is missing",
    "AccountIsDisabled": "the account is disabled",
}
_ELSEWHERE = {
    "ContainerNotFound": "the container does not exist",
    "ContainerBeingDeleted": "the container is being deleted",
    "InvalidResourceName": "that is no name of a container",
    "InvalidUri": "that is no name of a container or blob",
}


class BusyError(Exception):
    """The server asks for patience, or broke off; `__cause__` says how."""


FAILURE = (azure.core.exceptions.AzureError, requests.RequestException, BusyError)


def wait_where_busy(call: t.Callable[[], _T]) -> _T:
    """Return what `call` returns.

    Raises:
        BusyError: it is worth being made again.
    """
    try:
        return call()
    except azure.core.exceptions.HttpResponseError as error:
        broke_off = error.status_code is None and not isinstance(error, azure.core.exceptions.ClientAuthenticationError)
        if broke_off or error.status_code in _BUSY:
            raise BusyError from error
        raise


def refusal(error: BaseException, call: Call, settings: Settings) -> TapError:
    """Turn an exception of Azure's client into one of ours; its own words, which quote signatures, are left out.

    Of the settings, only which of them are set is told, never a value.
    """
    if isinstance(error, BusyError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, azure.core.exceptions.HttpResponseError) and error.status_code:
        return _from_answer(error, call, settings)
    if isinstance(error, azure.core.exceptions.ClientAuthenticationError):
        why = f"azure-identity found nobody to sign in as; {_advice(settings)}"
    elif isinstance(error, azure.core.exceptions.HttpResponseError):
        why = f"{call.what} broke off again and again"
    elif isinstance(error, AWAY):
        why = f"the server cannot be reached for {call.what}; check the account in {_account(settings)}"
    else:
        why = f"{call.what} failed ({type(error).__name__}); {_advice(settings)}"
    return StorageError(f"container {call.place}: {why}")


def _from_answer(error: azure.core.exceptions.HttpResponseError, call: Call, settings: Settings) -> TapError:
    status = error.status_code or 0
    found = getattr(error, "error_code", None)
    code = str(getattr(found, "value", found) or f"HTTP {status}")
    if code == "BlobArchived":
        return ArchivedFileError(f"{call.name} is archived; move it to another tier before it can be read")
    told = object_refusal(status, call.name, literal=call.literal) if call.name else None
    if told is not None and code not in _DENIED | _ELSEWHERE:
        return told
    if code in _ELSEWHERE:
        why = f"{call.what} failed ({code}): {_ELSEWHERE[code]}; check uris and {_account(settings)}"
    elif status in _BUSY:
        why = f"{call.what} failed ({code}), also after waiting: the server is busy; run again later"
    elif code == "AuthenticationFailed" and _is_skewed(error):
        why = f"{call.what} was denied ({code}): this machine's clock differs too much from the server's; set the clock"
    else:
        why = f"{call.what} was denied ({code}): {_DENIED.get(code, 'the server refused')}; {_advice(settings)}"
    return StorageError(f"container {call.place}: {why}")


def _is_skewed(error: azure.core.exceptions.HttpResponseError) -> bool:
    headers = getattr(error.response, "headers", {})
    stamp_ms = date_ms(headers.get("Date") or "")
    return stamp_ms is not None and abs(stamp_ms - time.time() * 1000) > _TOLERANCE_MS


def _account(settings: Settings) -> str:
    return "azure_account_url" if _is_by_url(settings) else "azure_connection_string"


def _is_by_url(settings: Settings) -> bool:
    return bool(settings.azure_account_url) and not settings.azure_connection_string


def _advice(settings: Settings) -> str:
    """Name the settings that decide who asks, as the run has them."""
    if not _is_by_url(settings):
        return "check azure_connection_string"
    if settings.azure_anonymous:
        return "azure_anonymous is true, so the container must be public; else unset it and give a key or signature"
    for setting in ("azure_account_key", "azure_sas_token"):
        if getattr(settings, setting):
            return f"check {setting} and azure_account_url"
    return "check azure_account_url and the roles of whom azure-identity signs in, or set azure_account_key"
