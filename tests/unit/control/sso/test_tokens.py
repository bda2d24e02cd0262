"""ID tokens that prove nothing are refused, each for its own reason."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest.mock import patch

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.builders.sign_on import ISSUER

from headwater.control.sso.tokens import TokenRefused, believe

CLIENT, NONCE, KID = "headwater", "n-0S6_WzA2Mj", "key-1"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


def jwk(key: Any, algorithm: Any, **more: Any) -> dict[str, Any]:
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": KID, "use": "sig", **more}


RSA_JWK = jwk(RSA, jwt.algorithms.RSAAlgorithm)


class Keys:
    """What the issuer answers when asked for its keys."""

    document: ClassVar[Any] = {"keys": [RSA_JWK]}


@pytest.fixture(autouse=True)
def keys() -> Iterator[type[Keys]]:
    class Answer:
        @staticmethod
        def raise_for_status() -> None:
            return

        @staticmethod
        def json() -> Any:
            return Keys.document

    with patch("headwater.control.sso.tokens.GuardedSession.get", return_value=Answer()):
        yield Keys
    Keys.document = {"keys": [RSA_JWK]}


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {"iss": ISSUER, "aud": CLIENT, "sub": "1", "nonce": NONCE, "iat": now, "exp": now + 60} | changed
    return {name: value for name, value in whole.items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", kid: str | None = KID, **changed: Any) -> str:
    headers = {"kid": kid} if kid else {}
    return jwt.encode(claims(**changed), key, algorithm=algorithm, headers=headers)


def told(text: str) -> dict[str, Any]:
    return believe(text, keys_url=f"{ISSUER}/jwks", issuer=ISSUER, client_id=CLIENT, nonce=NONCE)


def test_a_good_token_is_believed() -> None:
    assert told(token())["sub"] == "1"
    assert told(token(aud=[CLIENT]))["sub"] == "1"
    assert told(token(aud=[CLIENT, "other"], azp=CLIENT))["sub"] == "1"
    assert told(token(kid=None))["sub"] == "1", "the only key needs no name"


def test_every_usual_algorithm_of_public_keys_works(keys: type[Keys]) -> None:
    keys.document = {"keys": [jwk(EC, jwt.algorithms.ECAlgorithm)]}
    assert told(token(EC, "ES256"))["sub"] == "1"
    keys.document = {"keys": [jwk(RSA, jwt.algorithms.RSAAlgorithm)]}
    assert told(token(RSA, "PS256"))["sub"] == "1"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"iss": ISSUER + "/"},
        {"iss": None},
        {"aud": "another client"},
        {"aud": ["another", "client"]},
        {"aud": None},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"azp": "another"},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"nonce": ""},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"nbf": int(time.time()) + 3600},
    ],
)
def test_a_claim_that_is_not_as_it_must_be_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(TokenRefused):
        told(token(**changed))


def test_no_nonce_of_ours_believes_nothing() -> None:
    with pytest.raises(TokenRefused):
        believe(token(nonce=""), keys_url=f"{ISSUER}/jwks", issuer=ISSUER, client_id=CLIENT, nonce="")


def test_a_signature_of_somebody_else_is_refused() -> None:
    with pytest.raises(TokenRefused):
        told(token(OTHER))
    head, body, _ = token().split(".")
    for text in (f"{head}.{body}.", f"{head}.{body}", token()[:-4] + "AAAA", "", "not a token", "a.b.c"):
        with pytest.raises(TokenRefused):
            told(text)


def test_the_public_key_is_not_taken_for_a_shared_secret() -> None:
    """The classic confusion: sign with HMAC, the issuer's public key as the secret that everybody knows."""
    public = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    import base64
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "typ": "JWT", "kid": KID}) + b"." + part(claims())
    mac = base64.urlsafe_b64encode(hmac.new(public, signed, hashlib.sha256).digest()).rstrip(b"=")
    with pytest.raises(TokenRefused, match="HS256"):
        told((signed + b"." + mac).decode())


def test_no_algorithm_is_no_signature() -> None:
    unsigned = jwt.encode(claims(), "", algorithm="none", headers={"kid": KID})
    for text in (unsigned, unsigned.replace("none", "None")):
        with pytest.raises(TokenRefused):
            told(text)


def test_a_secret_among_the_issuers_keys_signs_nothing(keys: type[Keys]) -> None:
    keys.document = {"keys": [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I", "kid": KID}]}
    with pytest.raises(TokenRefused):
        told(token())


def test_a_key_is_used_for_its_own_algorithm_alone(keys: type[Keys]) -> None:
    keys.document = {"keys": [jwk(RSA, jwt.algorithms.RSAAlgorithm, alg="RS512")]}
    with pytest.raises(TokenRefused, match="RS512"):
        told(token())
    keys.document = {"keys": [jwk(RSA, jwt.algorithms.RSAAlgorithm, use="enc")]}
    with pytest.raises(TokenRefused, match="0 keys"):
        told(token())


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": []}, {"keys": [3]}, {"keys": [{}]}, "x"])
def test_an_issuer_whose_keys_are_garbage_proves_nothing(keys: type[Keys], document: Any) -> None:
    keys.document = document
    with pytest.raises(TokenRefused):
        told(token())
