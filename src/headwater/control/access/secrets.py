"""The text of API keys: ``hw_<8 characters>_<52 characters of base 32, 256 bits>``."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A fresh key: its text, shown once, and the two things that are kept of it."""

    text: str
    prefix: str
    sha256: str


def new_secret() -> NewSecret:
    """Return a fresh key. A fast digest suffices to store it: 256 random bits cannot be guessed."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(8))
    secret = base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    text = f"hw_{prefix}_{secret}"
    return NewSecret(text, prefix, digest(text))


def digest(text: str) -> str:
    """Return what a key is stored and looked up by."""
    return hashlib.sha256(text.encode()).hexdigest()
