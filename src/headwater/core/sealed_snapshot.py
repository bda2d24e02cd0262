"""Snapshots as they travel and lie on disk: canonical text, sealed with ed25519 (RFC 8032)."""

from __future__ import annotations

import base64
import hashlib
from functools import cached_property
from typing import Self

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import Snapshot
from headwater.core.snapshot_reader import SnapshotReader
from headwater.core.spec import Spec


class _Envelope(msgspec.Struct):
    """What travels, as the quickest of readers sees it: megabytes of text within JSON."""

    payload: str
    sha256: str
    signature: str


_ENVELOPE = msgspec.json.Decoder(_Envelope)


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
    def parse(cls, data: bytes) -> SignedSnapshot:
        """Read an envelope from its JSON form; raises ``snapshot_invalid`` when it is not one."""
        try:
            found = _ENVELOPE.decode(data)
        except msgspec.MsgspecError as error:
            raise HeadwaterError("snapshot_invalid", f"not a snapshot envelope: {error}") from error
        return cls.model_construct(payload=found.payload, sha256=found.sha256, signature=found.signature)

    def to_bytes(self) -> bytes:
        """Return the JSON form of the envelope."""
        return msgspec.json.encode(_Envelope(self.payload, self.sha256, self.signature))

    @cached_property
    def etag(self) -> str:
        """Return the entity tag services send back in ``If-None-Match``."""
        return f'"{self.sha256}"'

    def verify(self, key: Ed25519PublicKey, reader: SnapshotReader | None = None) -> Snapshot:
        """Return the snapshot if digest, signature and schema hold.

        ``reader`` is the one that read the environment's snapshots before; by default all is read afresh.

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
        return (reader or SnapshotReader()).read(payload)


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
