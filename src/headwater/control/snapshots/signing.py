"""The key that snapshots are signed with, and what is derived from it."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from headwater.control import configuration
from headwater.core.errors import HeadwaterError


def mask_key(environment_id: str) -> str:
    """Return what hashes of masked columns are made with: secret, the environment's own, and the same every time.

    It comes from the home's signing key, which no service has.
    """
    key = signing_key().private_bytes_raw()
    return hashlib.blake2b(environment_id.encode(), key=key, person=b"hw-mask-columns", digest_size=16).hexdigest()


def signing_key() -> Ed25519PrivateKey:
    """Return the key of this home; raises ``snapshot_invalid`` when there is none."""
    path = configuration.home().snapshot_private_key
    try:
        return _load_key(path, path.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise HeadwaterError(
            "snapshot_invalid", f"there is no signing key at {path}", hint="`headwater up` makes one on its first start"
        ) from error


@lru_cache(maxsize=4)
def _load_key(path: Path, _mtime: int) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes().strip(), validate=True))
    except ValueError as error:
        raise HeadwaterError("snapshot_invalid", f"{path} is not a signing key") from error
