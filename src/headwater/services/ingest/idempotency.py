"""Keyed requests happen once: scope, fingerprint, and the keys in progress in this process.

The unique scope in the journal is what decides in the end; the map of keys in progress only spares the second of two
simultaneous requests the work, and tells its sender to wait.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.engines.journal.protocol import IdempotencyRecord
from headwater.services.ingest.options import Options

MAX_STORED_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Keyed:
    """The key of a request once its body is known. Both are BLAKE2b-256."""

    scope: bytes
    fingerprint: bytes


def scope_of(environment_id: str, dataset: str, principal_id: str, method: str, key: bytes) -> bytes:
    """Return what a key is unique within; the principal, not the API key, so that rotating keys changes nothing."""
    parts = (environment_id.encode(), dataset.encode(), principal_id.encode(), method.encode(), key)
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


def fingerprint_of(body: bytes, options: Options) -> bytes:
    """Return what must be equal for two requests to be the same one: decompressed body and what changes its meaning."""
    digest = hashlib.blake2b(body, digest_size=32)
    dialect = options.dialect
    meaning = (
        options.form,
        options.on_error,
        options.contract,
        dialect.delimiter,
        dialect.quote,
        dialect.null,
        dialect.header,
    )
    digest.update(repr(meaning).encode())
    return digest.digest()


def check_fingerprint(record: IdempotencyRecord, fingerprint: bytes) -> None:
    """Raise ``idempotency_key_reused`` unless the stored request is this very one."""
    if record.fingerprint != fingerprint:
        raise HeadwaterError(
            "idempotency_key_reused",
            "this Idempotency-Key was used with another body or other parameters",
            hint="use a new key for new rows",
        )


class InProgress:
    """The scopes of requests under way in this process. Used from the event loop only."""

    def __init__(self) -> None:
        """Begin empty."""
        self._scopes: set[bytes] = set()

    def begin(self, scope: bytes) -> None:
        """Take a scope; raises ``idempotency_in_progress`` while somebody has it."""
        if scope in self._scopes:
            raise HeadwaterError("idempotency_in_progress", hint="wait for its answer", retry_after_seconds=1)
        self._scopes.add(scope)

    def end(self, scope: bytes) -> None:
        """Let a scope go."""
        self._scopes.discard(scope)
