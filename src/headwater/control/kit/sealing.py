"""Secrets that must be read again, such as a client secret: encrypted under the home's own secret."""

from __future__ import annotations

import base64
from collections.abc import Iterable

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from headwater.core.errors import HeadwaterError


def seal(text: str, purpose: str) -> str:
    """Return ``text`` encrypted and authenticated; only ``unseal`` with the same ``purpose`` reads it."""
    return _cipher(purpose).encrypt(text.encode()).decode()


def unseal(sealed: str, purpose: str) -> str:
    """Return what was sealed.

    Raises:
        HeadwaterError: ``secret_unreadable`` when it was sealed under another secret, or was altered.
    """
    try:
        return _cipher(purpose).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise HeadwaterError(
            "secret_unreadable",
            f"the stored secret ({purpose}) was encrypted under another run/django.secret, or was altered",
            hint="restore that file from the backup, or enter the secret again",
        ) from error


def _cipher(purpose: str) -> MultiFernet:
    # The newest secret seals; those before it still read, so that changing the secret loses nothing.
    return MultiFernet(
        [Fernet(key) for key in _keys([settings.SECRET_KEY, *map(str, settings.SECRET_KEY_FALLBACKS)], purpose)]
    )


def _keys(secrets: Iterable[str], purpose: str) -> Iterable[bytes]:
    for secret in secrets:
        derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=f"headwater/{purpose}".encode())
        yield base64.urlsafe_b64encode(derive.derive(secret.encode()))
