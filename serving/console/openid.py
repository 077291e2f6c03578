"""Sign-in with OpenID Connect: the authorization code flow with PKCE. Authlib speaks the protocol and checks tokens."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import requests

from core.api_scopes import Scope
from core.errors import MoovitamixError
from core.settings import Settings
from serving.console.rendering import PREFIX

CALLBACK_PATH = f"{PREFIX}/sign-in/callback"
COOKIE = "moovitamix_sign_in"
SIGN_IN_LIFETIME = timedelta(minutes=10)
# A provider with a public key signs with it; a token that is signed with a shared secret, or not at all, is refused.
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_SECONDS = 5.0
_CLOCK_SKEW_SECONDS = 30
_SERVICE_DOWN = "The sign-in service does not respond. Try again in a moment, or enter an API key."
_NOT_VALID = "The answer of the sign-in service is not valid. Sign in again; if that fails, look into the log."
_STARTED_ELSEWHERE = (
    "This sign-in was not started in this browser, has expired, or was finished before. Start it again."
)
Answer = TypeVar("Answer")


class SignInRefused(MoovitamixError):
    """The sign-in failed. The text is shown to the person; `why` is for the log, and has no value of a token."""

    def __init__(self, status: int, text: str, why: str) -> None:
        super().__init__(text)
        self.status = status
        self.why = why


@dataclass(frozen=True)
class StartedSignIn:
    """What the callback of a sign-in needs. The browser that started it keeps it in a cookie."""

    state: str
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    following: str

    def to_cookie(self) -> str:
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def from_cookie(cls, cookie: str) -> StartedSignIn | None:
        """None if the cookie is not one of ours."""
        try:
            values = json.loads(base64.urlsafe_b64decode(cookie))
            started = cls(**values)
            "".join(asdict(started).values()).encode()  # raises for a value that is no text, or has half a character
        except (binascii.Error, ValueError, TypeError, RecursionError):
            return None
        return started


@dataclass(frozen=True)
class Person:
    """A signed-in person. `reference` is a pseudonym: a hash of the issuer and the subject."""

    reference: str
    scopes: frozenset[Scope]


class OpenIdSignIn:
    """A client of one OpenID Connect provider. Methods raise SignInRefused.

    Each sign-in reads the provider's addresses and keys again, so that a key which the provider withdrew is not used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._callback = f"{settings.serving_public_url}{CALLBACK_PATH}"

    @property
    def is_configured(self) -> bool:
        """Whether a provider is set."""
        return bool(self._settings.console_oidc_issuer)

    async def start(self, following: str) -> tuple[str, StartedSignIn]:
        """The provider's address to send the browser to, and what to keep for the callback."""

        def ask() -> tuple[str, StartedSignIn]:
            client = self._client()
            started = client.create_authorization_url(self._callback)
            values = {name: started[name] for name in ("state", "nonce", "code_verifier")}
            return started["url"], StartedSignIn(**values, following=following)

        return await _in_thread(ask)

    async def finish(self, started: StartedSignIn | None, query: Mapping[str, str]) -> Person:
        """The person of a callback. The browser must have started this sign-in, and the provider must vouch for it."""
        if started is None or not hmac.compare_digest(query.get("state", "").encode(), started.state.encode()):
            raise SignInRefused(400, _STARTED_ELSEWHERE, "the state of the callback is not that of the cookie")
        if "error" in query or "code" not in query:
            text = "The sign-in service did not sign you in. Try again, or enter an API key."
            raise SignInRefused(401, text, "the provider returned an error instead of a code")

        def ask() -> tuple[str, Mapping[str, Any]]:
            client = self._client()
            issuer = client.load_server_metadata()["issuer"]
            token = client.fetch_access_token(
                self._callback, code=query["code"], code_verifier=started.code_verifier, grant_type="authorization_code"
            )
            claims = client.parse_id_token(
                token, started.nonce, claims_options=self._required(issuer), leeway=_CLOCK_SKEW_SECONDS
            )
            if claims is None:
                raise SignInRefused(401, _NOT_VALID, "the provider sent no ID token")
            return issuer, claims

        issuer, claims = await _in_thread(ask)
        scopes = self._scopes(claim_at(claims, self._settings.console_oidc_groups_claim))
        if not scopes:
            text = "You may not read the console: your account is not in a group that may. Ask its administrator."
            raise SignInRefused(403, text, "the person is in no group of CONSOLE_OIDC_..._GROUP")
        return Person(hashlib.sha256(f"{issuer} {claims['sub']}".encode()).hexdigest()[:32], scopes)

    def _scopes(self, groups: object) -> frozenset[Scope]:
        """What the groups of a person may do. A claim may be one group, or a list of groups."""
        names = groups if isinstance(groups, list) else [groups]
        if self._settings.console_oidc_act_group and self._settings.console_oidc_act_group in names:
            return frozenset({"console:read", "console:act"})
        return frozenset({"console:read"}) if self._settings.console_oidc_read_group in names else frozenset()

    def _required(self, issuer: str) -> dict[str, dict[str, Any]]:
        """The claims that a token must have. Authlib also checks its times and the nonce."""
        return {
            "iss": {"essential": True, "value": issuer},
            "aud": {"essential": True, "value": self._settings.console_oidc_client_id},
            "sub": {"essential": True, "validate": lambda _, subject: isinstance(subject, str) and subject != ""},
            "exp": {"essential": True},
        }

    def _client(self) -> Any:
        """Authlib's client, with the provider's addresses. Raises RequestException, SignInRefused."""
        issuer = self._settings.console_oidc_issuer
        client = _client_class()(
            None,
            client_id=self._settings.console_oidc_client_id,
            client_secret=self._settings.console_oidc_client_secret.get_secret_value(),
            server_metadata_url=f"{issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": self._settings.console_oidc_scopes,
                "code_challenge_method": "S256",
                "default_timeout": _SECONDS,
            },
        )
        metadata = client.load_server_metadata()
        if metadata.get("issuer", "").rstrip("/") != issuer:
            raise SignInRefused(503, _SERVICE_DOWN, "the provider names another issuer than CONSOLE_OIDC_ISSUER")
        named = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
        metadata["id_token_signing_alg_values_supported"] = [name for name in named if name in _ALGORITHMS] or ["RS256"]
        return client


def claim_at(claims: object, path: str) -> object:
    """The claim of this name, or below others at a path such as `realm_access.roles`; None if there is none.

    Names may have dots themselves. The longest name that exists comes first.
    """
    if not isinstance(claims, Mapping):
        return None
    if path in claims:
        return claims[path]
    dots = [position for position, character in enumerate(path) if character == "."]
    found = (claim_at(claims.get(path[:dot]), path[dot + 1 :]) for dot in reversed(dots))
    return next((claim for claim in found if claim is not None), None)


@cache
def _client_class() -> type[Any]:
    """Authlib's client on `requests`. It is imported at the first sign-in: most processes have no provider."""
    from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OpenIDMixin
    from authlib.integrations.requests_client import OAuth2Session

    return type("OpenIdClient", (OAuth2Mixin, OpenIDMixin, BaseApp), {"client_cls": OAuth2Session})


async def _in_thread(ask: Callable[[], Answer]) -> Answer:
    """Call the provider. Raises SignInRefused for each failure; texts of libraries may hold tokens, so none is kept."""
    from authlib.common.errors import AuthlibBaseError
    from joserfc.errors import ClaimError, JoseError

    try:
        return await asyncio.to_thread(ask)
    except requests.RequestException as error:
        raise SignInRefused(503, _SERVICE_DOWN, f"the provider does not answer ({type(error).__name__})") from error
    except ClaimError as error:
        raise SignInRefused(401, _NOT_VALID, f"the claim {error.claim} of the ID token is not valid") from error
    except JoseError as error:
        raise SignInRefused(401, _NOT_VALID, f"the ID token is not valid ({type(error).__name__})") from error
    except AuthlibBaseError as error:
        raise SignInRefused(401, _NOT_VALID, "the provider refused the code, or the login of this client") from error
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        why = f"the provider answered with something else than OpenID Connect ({type(error).__name__})"
        raise SignInRefused(503, _SERVICE_DOWN, why) from error
