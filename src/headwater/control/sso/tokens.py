"""Believing an ID token: signed by the issuer's own key, meant for us, fresh, and the answer to our question."""

from __future__ import annotations

import hmac
from typing import Any, Final

import jwt
import requests

from headwater.control.sso.fetching import GuardedSession

#: Public keys alone: a shared secret or no signature at all proves nothing about the issuer.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY_SECONDS: Final = 30


class TokenRefused(Exception):
    """The token proves nothing."""


def believe(token: str, *, keys_url: str, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """Return the claims of an ID token.

    Raises:
        TokenRefused: bad signature, another algorithm, issuer, audience or nonce, expired, or no keys to check with.
    """
    try:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise TokenRefused(f"the token is signed with {algorithm!r}")
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(keys_url, header.get("kid"), algorithm),
            algorithms=[algorithm],
            issuer=issuer,
            audience=client_id,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, requests.RequestException, TypeError, ValueError) as error:
        raise TokenRefused(f"{type(error).__name__}: {error}") from error
    _check_party(claims, client_id)
    if not nonce or not hmac.compare_digest(str(claims.get("nonce", "")), nonce):
        raise TokenRefused("the token answers another sign-in")
    return claims


def _key(keys_url: str, kid: Any, algorithm: str) -> Any:
    """Return the issuer's key that a token names, if it is a key for signing with ``algorithm``."""
    with GuardedSession() as session:
        response = session.get(keys_url)
        response.raise_for_status()
        document = response.json()
    fitting = [key for key in _listed(document) if kid is None or key.get("kid") == kid]
    if len(fitting) != 1:
        raise TokenRefused(f"the issuer has {len(fitting)} keys called {kid!r}")
    found = fitting[0]
    if found.get("alg") not in (None, algorithm):
        raise TokenRefused(f"the issuer's key is for {found['alg']}, the token says {algorithm}")
    return jwt.PyJWK(found, algorithm).key


def _listed(document: Any) -> list[dict[str, Any]]:
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise TokenRefused("the issuer lists no keys")
    return [key for key in keys if isinstance(key, dict) and key.get("use") in (None, "sig")]


def _check_party(claims: dict[str, Any], client_id: str) -> None:
    """Refuse a token for several audiences that was issued to another of them (OpenID Connect Core 3.1.3.7)."""
    audience = claims["aud"]
    if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != client_id:
        raise TokenRefused("the token was issued to another client")
    if claims.get("azp") not in (None, client_id):
        raise TokenRefused("the token was issued to another client")
