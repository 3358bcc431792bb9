"""Why S3 said no: in goes an exception of botocore, out comes one sentence with bucket, call and settings to check."""

from __future__ import annotations

import re
import typing as t

import botocore.exceptions
import botocore.parsers

from tap_coolafile.exceptions import ArchivedFileError, StorageError, TapError
from tap_coolafile.sources.refusals import object_refusal

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings

_DENIED = {
    "403": "access was denied",
    "401": "access was denied",
    "AccessDenied": "access was denied",
    "AllAccessDisabled": "access was denied",
    "AccountProblem": "access was denied",
    "InvalidAccessKeyId": "the access key is not known",
    "InvalidClientTokenId": "the access key is not known",
    "UnrecognizedClientException": "the access key is not known",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "ExpiredToken": "the session token has expired",
    "ExpiredTokenException": "the session token has expired",
    "TokenRefreshRequired": "the session token has expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock differs too much from the server's; set the clock",
    "RequestExpired": "this machine's clock differs too much from the server's; set the clock",
}
_BUSY = "the server asks for fewer requests, also after waiting; run again later"
_AILING = "the server is not available, also after waiting; run again later"
_ELSEWHERE = {
    "NoSuchBucket": "the bucket does not exist; check uris and aws_endpoint_url",
    "PermanentRedirect": "the bucket is in another region; check aws_region",
    "301": "the bucket is in another region; check aws_region",
    "IllegalLocationConstraintException": "the bucket is in another region; check aws_region",
    "AuthorizationHeaderMalformed": "the signature is for another region; check aws_region",
    **dict.fromkeys(("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "429"), _BUSY),
    **dict.fromkeys(("InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "503", "504"), _AILING),
}
_SKEWED = re.compile("Signature (expired|not yet current)")  # so says the service that hands out roles
_OF_OBJECT = {"404": 404, "NoSuchKey": 404, "NotFound": 404, "PreconditionFailed": 412, "412": 412, "InvalidRange": 416,
              "416": 416}  # fmt: skip


def refusal(error: Exception, call: str, bucket: str, settings: Settings, name: str = "") -> TapError:
    """Turn an exception of botocore into one of ours.

    Args:
        error: what botocore raised.
        call: the S3 permission or call that failed, such as `GetObject`.
        bucket: the bucket's name.
        settings: what the run was given; only which settings are set is told, never a value.
        name: the object's URI, where the call was about one.
    """
    place = name or f"s3://{bucket}"
    if isinstance(error, botocore.exceptions.ClientError):
        told = error.response.get("Error", {})
        code = str(told.get("Code", "unknown"))
        if code == "SignatureDoesNotMatch" and _SKEWED.match(str(told.get("Message", ""))):
            code = "RequestTimeTooSkewed"
        return _from_code(code, call, place, bucket, settings)
    if isinstance(error, botocore.exceptions.NoCredentialsError | botocore.exceptions.PartialCredentialsError):
        msg = f"bucket {bucket}: {call} was denied, as no credentials were found; {_advice(settings)}"
    elif isinstance(error, botocore.exceptions.ProfileNotFound):
        msg = f"bucket {bucket}: the AWS profile was not found; check aws_profile"
    elif isinstance(error, botocore.exceptions.ConnectionError | botocore.exceptions.HTTPClientError):
        msg = f"bucket {bucket}: the server cannot be reached for {call}; check aws_endpoint_url and aws_region"
    elif isinstance(error, botocore.exceptions.ParamValidationError):
        what = "the name of the bucket or object; check uris"
        if call == "signing in":  # before any bucket is asked for, a role is
            what = "the name of the role or its external id; check aws_role_arn and aws_external_id"
        msg = f"bucket {bucket}: {call} refuses {what}"
    elif isinstance(error, botocore.parsers.ResponseParserError):
        return foreign(bucket, call)
    else:
        msg = f"bucket {bucket}: {call} failed ({type(error).__name__}); {_advice(settings)}"
    return StorageError(msg)


def foreign(bucket: str, call: str) -> StorageError:
    """Say that an answer is none of S3's, as of a web page."""
    return StorageError(f"bucket {bucket}: what answers {call} does not speak S3's protocol; check aws_endpoint_url")


def _from_code(code: str, call: str, place: str, bucket: str, settings: Settings) -> TapError:
    status = _OF_OBJECT.get(code, 0)
    if status and place == f"s3://{bucket}":  # not an answer of S3's to a call about a bucket
        return foreign(bucket, call)
    told = object_refusal(status, place, literal=call == "HeadObject")
    if told is not None:
        return told
    if code == "InvalidObjectState":
        return ArchivedFileError(f"{place} is archived; restore it in S3 before it can be read")
    if code in _ELSEWHERE:
        return StorageError(f"bucket {bucket}: {call} failed ({code}): {_ELSEWHERE[code]}")
    reason = _DENIED.get(code, "the server refused")
    about = f" of {place}" if place != f"s3://{bucket}" else ""
    return StorageError(f"bucket {bucket}: {call}{about} was denied ({code}): {reason}; {_advice(settings)}")


def _advice(settings: Settings) -> str:
    """Name the settings that decide who asks, as the run has them."""
    if settings.aws_anonymous:
        return "aws_anonymous is true, so the object must be public; else unset it and give keys or a profile"
    if settings.aws_role_arn:
        return "check aws_role_arn, aws_external_id and the rights of the role"
    if settings.aws_profile:
        return "check aws_profile and the rights of its user"
    if settings.aws_access_key_id:
        return "check aws_access_key_id, aws_secret_access_key, aws_session_token and the rights of their user"
    return "set aws_access_key_id and aws_secret_access_key, aws_profile, or aws_anonymous for a public bucket"
