"""A real server of Google's storage protocol: an emulator in a process of its own, behind a gate that signs in.

The emulator keeps buckets and objects, and knows neither pages, nor where a listing starts, nor preconditions, nor who
asks: those the gate adds. It hands out tokens for assertions signed by the one account's key, as Google's does.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import time
import typing as t
import urllib.parse

from tests.gate import Answer, Gate, Pass, Request, await_port, free_port

if t.TYPE_CHECKING:
    from pathlib import Path

_PAGE = 100  # Google's has 1000
_ACCOUNT = "tester@example.iam.gserviceaccount.com"


class GcsServer:
    """One server; `key` is its account's key as Google's console would give it."""

    def __init__(self, folder: Path) -> None:
        """Start empty, and wait until it listens; what it logs goes to `folder`."""
        port = free_port()
        log = folder / "gcs.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory", f"--port={port}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        await_port(port, log.read_text)
        self._tokens: set[str] = set()
        self._public: set[str] = set()
        self.gate = Gate(port, self._between)
        self.key, self._public_key = new_key(self.gate.url)

    def settings(self) -> dict[str, t.Any]:
        """Return the tap's settings for it."""
        return {"gcs_endpoint_url": self.gate.url, "gcs_credentials_json": json.dumps(self.key)}

    def bucket(self, name: str, objects: t.Mapping[str, bytes] | None = None, *, public: bool = False) -> str:
        """Make a bucket with `objects`, by key, and return its name."""
        self._ask("POST", "/storage/v1/b?project=tests", {"Content-Type": "application/json"}, {"name": name})
        for key, body in (objects or {}).items():
            self.put(name, key, body)
        if public:
            self._public.add(name)
        return name

    def put(self, bucket: str, key: str, body: bytes) -> None:
        """Write an object."""
        target = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={urllib.parse.quote(key, safe='')}"
        self._ask("POST", target, {"Content-Type": "application/octet-stream"}, body)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object."""
        self._ask("DELETE", f"/storage/v1/b/{bucket}/o/{urllib.parse.quote(key, safe='')}", {})

    def objects(self, bucket: str) -> list[str]:
        """Return the keys of a bucket."""
        answer = self._ask("GET", f"/storage/v1/b/{bucket}/o", {})
        return [item["name"] for item in json.loads(answer.body)["items"]]

    def stop(self) -> None:
        """End it."""
        self.gate.stop()
        self._process.terminate()
        self._process.wait()

    def _ask(self, method: str, target: str, headers: dict[str, str], body: t.Any = b"") -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.gate.onward(Request(method, target, headers, data))
        assert answer.status < 300, answer
        return answer

    def _between(self, request: Request, onward: Pass) -> Answer:
        parts = urllib.parse.urlsplit(request.target)
        if parts.path == "/token":
            return self._token(request)
        query = dict(urllib.parse.parse_qsl(parts.query))
        words = parts.path.split("/")
        bucket = words[words.index("b") + 1]
        headers = {name.lower(): value for name, value in request.headers.items()}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._tokens and bucket not in self._public:
            return _refusal(401, "Invalid Credentials")
        if parts.path.endswith("/o") and request.method == "GET":
            return _page(onward(request), query)
        if "ifGenerationMatch" in query and request.method == "GET":
            about = onward(Request("GET", parts.path.removeprefix("/download"), {}))
            if about.status == 200 and json.loads(about.body)["generation"] != query["ifGenerationMatch"]:
                return _refusal(412, "conditionNotMet")
        return onward(request)

    def _token(self, request: Request) -> Answer:
        assertion = urllib.parse.parse_qs(request.body.decode())["assertion"][0]
        if not self._is_signed(assertion):
            body = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return _json(400, body)
        claims = json.loads(base64.urlsafe_b64decode(assertion.split(".")[1] + "=="))
        if claims["iss"] != _ACCOUNT or abs(claims["iat"] - time.time()) > 300:
            return _json(400, {"error": "invalid_grant", "error_description": "account not found"})
        token = "ya29." + secrets.token_hex(16)
        self._tokens.add(token)
        return _json(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    def _is_signed(self, assertion: str) -> bool:
        from google.auth.crypt import RSAVerifier  # noqa: PLC0415 - only tests of GCS pay for it

        signed, _, signature = assertion.rpartition(".")
        verifier = RSAVerifier.from_string(self._public_key)
        return bool(verifier.verify(signed.encode(), base64.urlsafe_b64decode(signature + "==")))


def new_key(url: str) -> tuple[dict[str, str], bytes]:
    """Return a key such as Google's console gives, for the account that the server at `url` knows; and its public half.

    The server refuses it, as it does not know that half.
    """
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only tests of GCS pay for it
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - as above

    made = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM
    hidden = made.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    shown = made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    key = {"type": "service_account", "client_email": _ACCOUNT, "private_key_id": "1", "project_id": "tests"}
    return key | {"private_key": hidden.decode(), "token_uri": url + "/token"}, shown


def _page(listing: Answer, query: dict[str, str]) -> Answer:
    """Cut one page out of a listing, as Google would."""
    if listing.status != 200:
        return listing
    found = json.loads(listing.body)
    after = query.get("pageToken", "")
    items = sorted(found.get("items", ()), key=lambda item: item["name"].encode())
    items = [item for item in items if item["name"] >= query.get("startOffset", "") and item["name"] > after]
    rest = items[_PAGE:]
    token = {"nextPageToken": items[_PAGE - 1]["name"]} if rest else {}
    return _json(200, {"items": items[:_PAGE], **token})


def _refusal(status: int, message: str) -> Answer:
    return _json(status, {"error": {"code": status, "message": message, "errors": []}})


def _json(status: int, body: t.Any) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(body).encode())
