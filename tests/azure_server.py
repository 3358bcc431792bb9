"""A real server of Azure's blob protocol: Azurite, Microsoft's emulator, which checks keys and signatures.

It runs on Node; the README says how it is installed into `.tools`. The gate before it can be told to fail.
"""

from __future__ import annotations

import base64
import datetime as dt
import os
import secrets
import shutil
import subprocess
import typing as t
from pathlib import Path

from tests.gate import Gate, await_port, free_port

if t.TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

_TOOLS = Path(__file__).parent.parent / ".tools" / "node_modules" / ".bin"
AZURITE = shutil.which("azurite-blob", path=f"{_TOOLS}{os.pathsep}{os.environ.get('PATH', '')}")
ACCOUNT = "testaccount"


class AzureServer:
    """One server; `url` is the address of its account by way of the gate, `key` the account's key."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Start with an empty account, and wait until it listens; what it logs goes to `folder`."""
        assert AZURITE is not None
        self.key = base64.b64encode(secrets.token_bytes(64)).decode()
        port = free_port()
        log = folder / "azurite.log"
        command = [AZURITE, "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", *options]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--blobHost", "127.0.0.1", "--blobPort", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{self.key}"},
            )
        await_port(port, log.read_text)
        self.gate = Gate(port)
        self.secure_url = f"https://127.0.0.1:{port}/{ACCOUNT}"
        """Its own address, if the options give it a certificate."""
        self.url = f"{self.gate.url}/{ACCOUNT}"

    def container(self, name: str, blobs: t.Mapping[str, bytes] | None = None, **more: t.Any) -> ContainerClient:
        """Make a container with `blobs`, by name, and return a client of it."""
        from azure.storage.blob import ContainerClient  # noqa: PLC0415 - only tests of Azure pay for it

        client = ContainerClient(self.url, name, credential=self.key)
        client.create_container(**more)
        for key, body in (blobs or {}).items():
            client.upload_blob(key, body)
        return client

    def settings(self) -> dict[str, t.Any]:
        """Return the tap's settings for it."""
        return {"azure_account_url": self.url, "azure_account_key": self.key}

    def sas(self, hours: float = 1, *, listing: bool = True) -> str:
        """Return a signature for all of the account, which ends after so many hours."""
        from azure.storage.blob import (  # noqa: PLC0415 - as above
            AccountSasPermissions,
            ResourceTypes,
            generate_account_sas,
        )

        now = dt.datetime.now(dt.UTC)
        return generate_account_sas(
            ACCOUNT,
            self.key,
            ResourceTypes(container=True, object=True),
            AccountSasPermissions(read=True, list=listing),
            start=now - dt.timedelta(days=1),
            expiry=now + dt.timedelta(hours=hours),
        )

    def connection_string(self) -> str:
        """Return what the portal shows for an account."""
        return f"AccountName={ACCOUNT};AccountKey={self.key};BlobEndpoint={self.url};"

    def stop(self) -> None:
        """End it."""
        self.gate.stop()
        self._process.terminate()
        self._process.wait()
