"""Who asks S3, and how: in go `aws_*` settings, out comes a boto3 client; a role is assumed before any other call."""

from __future__ import annotations

import typing as t

import boto3
import botocore.config
import botocore.credentials
import botocore.session

from tap_coolafile.sources.remote import ATTEMPTS

if t.TYPE_CHECKING:
    from tap_coolafile.configuration import Settings


def client(settings: Settings) -> t.Any:
    """Return a client that signs as the settings say.

    Raises:
        BotoCoreError: the profile is not there, or the role could not be assumed.
        ClientError: the same, said by the server.
    """
    session = boto3.session.Session(
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=settings.aws_secret_access_key,
        aws_session_token=settings.aws_session_token,
        profile_name=settings.aws_profile,
        region_name=settings.aws_region,
    )
    if settings.aws_role_arn:
        session = _as_role(session, settings)
    config = botocore.config.Config(
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
        connect_timeout=10,
        read_timeout=settings.request_timeout_seconds,
        signature_version=botocore.UNSIGNED if settings.aws_anonymous else None,
        max_pool_connections=64,
    )
    region = session.region_name or "us-east-1"
    return session.client("s3", endpoint_url=settings.aws_endpoint_url, config=config, region_name=region)


def _as_role(session: boto3.session.Session, settings: Settings) -> boto3.session.Session:
    """Swap the session's credentials for the role's, now and again whenever they are about to expire."""
    region = session.region_name or "us-east-1"
    # An S3-compatible server keeps its token service at the same address; AWS's own endpoints do not.
    own = settings.aws_endpoint_url if ".amazonaws.com" not in (settings.aws_endpoint_url or "") else None
    sts = session.client("sts", region_name=region, endpoint_url=own)
    asked = {"RoleArn": settings.aws_role_arn, "RoleSessionName": "tap-coolafile"}
    if settings.aws_external_id:
        asked["ExternalId"] = settings.aws_external_id

    def fresh() -> dict[str, str]:
        given = sts.assume_role(**asked)["Credentials"]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    credentials = botocore.credentials.RefreshableCredentials.create_from_metadata(
        metadata=fresh(), refresh_using=fresh, method="sts-assume-role"
    )
    inner = botocore.session.get_session()
    inner._credentials = credentials  # noqa: SLF001 - botocore has no public way to set refreshing credentials
    return boto3.session.Session(botocore_session=inner, region_name=region)
