"""The settings of single storages, declared once: who asks, and at which address. A part of settings.py."""

from __future__ import annotations

import typing as t

from singer_sdk import typing as th

STORAGES: tuple[th.Property[t.Any], ...] = (
    th.Property("aws_access_key_id", th.StringType, secret=True, description="Access key of a private bucket."),
    th.Property(
        "aws_secret_access_key",
        th.StringType,
        secret=True,
        description="Secret key of a private bucket. With neither key nor profile, boto3's own chain is asked.",
    ),
    th.Property(
        "aws_session_token",
        th.StringType,
        secret=True,
        description="Session token that came with temporary keys.",
    ),
    th.Property("aws_profile", th.StringType, description="Named profile of the shared AWS configuration files."),
    th.Property(
        "aws_role_arn",
        th.StringType,
        description="Role to assume before any call to the storage, so that the pipeline's own rights reach nothing.",
    ),
    th.Property(
        "aws_external_id",
        th.StringType,
        secret=True,
        description="External id the role's owner asks for; used only with `aws_role_arn`.",
    ),
    th.Property("aws_region", th.StringType, description="Region of the bucket, where the AWS chain does not know it."),
    th.Property(
        "aws_endpoint_url",
        th.StringType,
        description="Address of an S3-compatible server; unset, AWS itself.",
    ),
    th.Property(
        "aws_anonymous",
        th.BooleanType,
        default=False,
        description="Send S3 requests unsigned, for public buckets. False: a bucket is private until someone says not.",
    ),
    th.Property(
        "aws_requester_pays",
        th.BooleanType,
        default=False,
        description="Agree to pay for requests to a bucket that charges who asks. False: costs are agreed to by name.",
    ),
    th.Property(
        "gcs_credentials_path",
        th.StringType,
        description="File with the key of a Google service account. Unset: Google's own chain (environment, `gcloud`, "
        "the machine's account).",
    ),
    th.Property(
        "gcs_credentials_json",
        th.StringType,
        secret=True,
        description="The content of such a file, where a secret is kept as text.",
    ),
    th.Property(
        "gcs_anonymous",
        th.BooleanType,
        default=False,
        description="Send requests to Google Cloud Storage unsigned, for public buckets. False: as `aws_anonymous`.",
    ),
    th.Property(
        "gcs_user_project",
        th.StringType,
        description="Google project that pays, where a bucket charges who asks. Unset: none agrees to pay.",
    ),
    th.Property(
        "gcs_endpoint_url",
        th.StringType,
        description="Address of a server that speaks Google's protocol, such as an emulator; unset, Google itself.",
    ),
    th.Property(
        "azure_connection_string",
        th.StringType,
        secret=True,
        description="Connection string of an Azure storage account, as its portal shows it. Unset, and without "
        "`azure_account_url`: `AZURE_STORAGE_CONNECTION_STRING` of the environment.",
    ),
    th.Property(
        "azure_account_url",
        th.StringType,
        description="Address of the account, `https://NAME.blob.core.windows.net`; alone, it is asked as "
        "azure-identity finds, if that is installed.",
    ),
    th.Property(
        "azure_account_key", th.StringType, secret=True, description="Key of the account of `azure_account_url`."
    ),
    th.Property(
        "azure_sas_token",
        th.StringType,
        secret=True,
        description="Shared access signature for the account or container, in place of its key.",
    ),
    th.Property(
        "azure_anonymous",
        th.BooleanType,
        default=False,
        description="Send requests to Azure unsigned, for public containers. False: as `aws_anonymous`.",
    ),
    th.Property(
        "sftp_password",
        th.StringType,
        secret=True,
        description="Password of the SFTP user, who stands in the URI.",
    ),
    th.Property(
        "sftp_private_key_path",
        th.StringType,
        description="File with the SFTP user's private key. Unset: the SSH agent and `~/.ssh`.",
    ),
    th.Property("sftp_private_key_passphrase", th.StringType, secret=True, description="Passphrase of that key."),
    th.Property(
        "sftp_known_hosts_path",
        th.StringType,
        default="~/.ssh/known_hosts",
        description="File with the host keys of SFTP servers, as OpenSSH writes it. A server that is not in it is "
        "refused.",
    ),
    th.Property(
        "transport_params",
        th.ObjectType(additional_properties=True),
        default={},
        secret=True,
        description="Object handed as it is to smart_open for schemes other than s3, gs, azure, http(s), sftp and "
        "local. Empty: smart_open's defaults.",
    ),
)
