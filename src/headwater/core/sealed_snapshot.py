"""Snapshots as they travel and lie on disk: canonical text, sealed with ed25519 (RFC 8032)."""

from __future__ import annotations

import base64
import hashlib
from functools import cached_property
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import Snapshot
from headwater.core.spec import Spec


class SignedSnapshot(Spec):
    """A snapshot's canonical text with its digest and signature: what travels and what lies on disk."""

    payload: str
    sha256: str
    signature: str

    @classmethod
    def sign(cls, snapshot: Snapshot, key: Ed25519PrivateKey) -> Self:
        """Seal ``snapshot`` with ``key``."""
        payload = snapshot.canonical_bytes()
        return cls(
            payload=payload.decode(),
            sha256=hashlib.sha256(payload).hexdigest(),
            signature=base64.b64encode(key.sign(payload)).decode(),
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an envelope from its JSON form; raises ``snapshot_invalid`` when it is not one."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise HeadwaterError("snapshot_invalid", f"not a snapshot envelope: {error}") from error

    def to_bytes(self) -> bytes:
        """Return the JSON form of the envelope."""
        return self.model_dump_json().encode()

    @cached_property
    def etag(self) -> str:
        """Return the entity tag services send back in ``If-None-Match``."""
        return f'"{self.sha256}"'

    def verify(self, key: Ed25519PublicKey) -> Snapshot:
        """Return the snapshot if digest, signature and schema hold.

        Raises:
            HeadwaterError: ``snapshot_invalid`` naming which of the three failed.
        """
        payload = self.payload.encode()
        if hashlib.sha256(payload).hexdigest() != self.sha256:
            raise HeadwaterError("snapshot_invalid", "the snapshot's digest does not match its payload")
        try:
            key.verify(base64.b64decode(self.signature), payload)
        except (InvalidSignature, ValueError) as error:
            raise HeadwaterError("snapshot_invalid", "the snapshot's signature does not verify") from error
        try:
            return Snapshot.model_validate_json(payload)
        except ValidationError as error:
            raise HeadwaterError("snapshot_invalid", f"the snapshot does not parse: {error}") from error


def public_key_text(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the raw public key in base64, as kept in ``run/snapshot.pub``."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()


def load_public_key(text: str) -> Ed25519PublicKey:
    """Read what ``public_key_text`` wrote; raises ``snapshot_invalid`` when it is no such key."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text.strip(), validate=True))
    except ValueError as error:
        raise HeadwaterError("snapshot_invalid", "the snapshot's public key is not 32 bytes of base64") from error
