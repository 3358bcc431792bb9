"""Who asks Azure: what the settings say, or an identity of the machine, whose tokens Azurite takes over https alone."""

from __future__ import annotations

import base64
import json
import os
import time
import typing as t

import pytest
import trustme
from azure.storage.blob import ContainerClient

from tap_coolafile.exceptions import SettingError
from tap_coolafile.sources.azure_client import client
from tests.azure_server import AZURITE, AzureServer
from tests.gate import Answer, Gate, Pass, Request
from tests.tap.conftest import Workplace, checked, event

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[AzureServer]:
    if AZURITE is None:
        pytest.skip("Azurite is not installed (the README says how)")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    keys = ("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    server = AzureServer(tmp_path, "--oauth", "basic", *keys)
    yield server
    server.stop()


@pytest.fixture
def machine() -> Iterator[Gate]:
    """The service by which an App Service hands out tokens of its identity; knows who asks by a header."""

    def answer(request: Request, _: Pass) -> Answer:
        if request.headers.get("x-identity-header", request.headers.get("X-IDENTITY-HEADER")) != "sesame":
            return Answer(401, {})
        token = {"access_token": _token(), "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(token).encode())

    gate = Gate(9, answer)
    yield gate
    gate.stop()


def _token() -> str:
    """A token as Entra signs them, but for the signature, at which Azurite does not look."""
    now = int(time.time())
    claims = {"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/tests/"}
    times = {"nbf": now - 60, "iat": now - 60, "exp": now + 3600}
    parts = ({"alg": "none", "typ": "JWT"}, claims | times)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def test_a_machines_identity_signs_in_and_its_token_is_told_nowhere(
    place: Workplace, azure: AzureServer, machine: Gate
) -> None:
    authority = str(place.folder / "ca.pem")
    container = ContainerClient(azure.secure_url, "own", credential=azure.key, connection_verify=authority)
    container.create_container()
    container.upload_blob("a.json", event(1))
    env = {
        **os.environ, "REQUESTS_CA_BUNDLE": authority, "TAP_COOLAFILE_LOGLEVEL": "DEBUG",
        "IDENTITY_ENDPOINT": f"{machine.url}/token", "IDENTITY_HEADER": "sesame",
    }  # fmt: skip
    run = place.run(uris="azure://own/", env=env, azure_account_url=azure.secure_url)
    assert (run.code, run.users) == (0, ["u1"]), run.log
    assert "DEBUG" in run.log
    for secret in ("sesame", "Bearer", _token()[:30]):
        assert secret not in run.log + str(run.lines)

    env["IDENTITY_HEADER"] = "wrong"
    refused = place.run(uris="azure://own/", env=env | {"PATH": ""}, azure_account_url=azure.secure_url)
    assert refused.code == 1
    (line,) = [line for line in refused.log.splitlines() if "ERROR" in line]
    assert "azure-identity found nobody to sign in as; check azure_account_url" in line
    assert "Traceback" not in refused.log


def test_without_azure_identity_what_to_set_or_install_is_told(place: Workplace) -> None:
    log = place.without("azure.identity", uris="azure://container/", azure_account_url="https://a.example")
    assert "azure_account_url alone, install azure-identity" in log
    assert "Traceback" not in log


def test_nobody_to_sign_in_as_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    with pytest.raises(SettingError, match="azure:// has nobody to sign in as: set azure_connection_string"):
        client(checked("azure://c/"))
    with pytest.raises(SettingError, match="azure_connection_string cannot be used") as caught:
        client(checked("azure://c/", azure_connection_string="sesame"))
    assert "sesame" not in str(caught.value)


def test_rejects_that_nobody_can_sign_in_for_are_told_with_what_to_set(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    place.write("a.json", event(1), "nonsense")
    with pytest.raises(SettingError, match="azure:// has nobody to sign in as: set azure_connection_string"):
        place.sync(rejects_path="azure://container/rejects")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"azure_anonymous": True, "azure_account_key": "y"}, "choose one"),
        ({"azure_account_key": "y"}, "need azure_account_url"),
        ({"azure_account_url": "http://a.example"}, "plain http is for loopback only"),
        ({"azure_connection_string": "BlobEndpoint=http://a.example;"}, "plain http is for loopback only"),
        ({"azure_account_url": "https://a.example?sig=x"}, "give what follows in azure_sas_token"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, t.Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        checked("azure://container/", **given)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("azure_account_key", "sésame!"),
        ("azure_account_key", "sesame"),
        ("azure_connection_string", "AccountName=a;AccountKey=sesame!;EndpointSuffix=core.windows.net"),
    ],
)
def test_a_key_that_is_not_base64_is_told_by_its_setting(setting: str, value: str) -> None:
    given = {"azure_account_url": "https://a.blob.core.windows.net"} if setting == "azure_account_key" else {}
    with pytest.raises(SettingError, match=f"^{setting} holds a key that is not base64") as caught:
        client(checked("azure://container/", **{setting: value}, **given))
    assert "same" not in str(caught.value)
