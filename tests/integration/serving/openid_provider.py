"""A provider of OpenID Connect on this machine, with real HTTP and signatures. It signs in one person at once."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from tests.loopback_server import loopback_server

CLIENT_ID, CLIENT_SECRET = "moovitamix-console", "secret of the client"


def new_key(kid: str = "first") -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


@dataclass
class Provider:
    """What the provider answers. Tests change it to make faults."""

    url: str
    groups: object = field(default_factory=lambda: ["readers"])
    changed_claims: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    error: str = ""
    is_down: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    key: RSAKey = field(default_factory=new_key)
    published_key: RSAKey | None = None
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    def reset(self) -> None:
        """Be without faults."""
        vars(self).update(vars(Provider(self.url)))

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        } | self.metadata

    def keys(self) -> dict[str, Any]:
        return {"keys": [(self.published_key or self.key).as_dict(private=False)]}

    def authorize(self, query: dict[str, str]) -> str:
        """The address that the browser is sent back to."""
        if self.error:
            return f"{query['redirect_uri']}?{urlencode({'error': self.error, 'state': query['state']})}"
        code = secrets.token_urlsafe()
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, login: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The tokens of a code, which is valid once, for the client that proves that it asked for the code."""
        asked = self.codes.pop(form.get("code", ""), None)
        client = ":".join(map(unquote, base64.b64decode(login).decode().split(":", 1)))
        if client != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return 401, {"error": "invalid_client"}
        proof = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if (
            asked is None
            or asked["code_challenge"] != proof.decode()
            or asked["code_challenge_method"] != "S256"
            or asked["redirect_uri"] != form["redirect_uri"]
            or form["grant_type"] != "authorization_code"
        ):
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.url,
            "sub": "ada-1815",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "email": "ada@example.org",
            "name": "Ada Lovelace",
            "groups": self.groups,
        } | self.changed_claims
        present = {name: value for name, value in claims.items() if value is not None}
        return 200, {"access_token": "access", "token_type": "Bearer", "id_token": self._sign(present)}

    def _sign(self, claims: dict[str, Any]) -> str:
        header = {"alg": self.algorithm, "kid": "first"}
        if self.algorithm == "none":
            parts = (
                base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)
            )
            return ".".join(parts) + "."
        if self.algorithm == "HS256":  # with a secret that everyone knows: the public key
            return jwt.encode(
                header, claims, OctKey.import_key(str(self.key.as_dict(private=False)["n"])), algorithms=["HS256"]
            )
        return jwt.encode(header, claims, self.key)


@contextmanager
def openid_provider() -> Iterator[Provider]:
    """Run a provider until the test ends."""

    class ProviderHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            provider.requests.append(address.path)
            if provider.is_down:
                self.answer(503, {})
            elif address.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorize(dict(parse_qsl(address.query))))
                self.end_headers()
            elif address.path == "/keys":
                self.answer(200, provider.keys())
            else:
                self.answer(200 if address.path == "/.well-known/openid-configuration" else 404, provider.discovery())

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            login = self.headers.get("Authorization", "").removeprefix("Basic ")
            self.answer(*provider.token(login, dict(parse_qsl(form))))

        def answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with loopback_server(ProviderHandler) as url:
        provider = Provider(url)
        yield provider
