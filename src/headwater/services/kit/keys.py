"""Who holds which API key: one table over all environments, made anew at every swap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from headwater.core.clock import Clock
from headwater.core.errors import HeadwaterError
from headwater.services.kit.service import Caller, Environment

_SCHEME: Final = b"bearer "
_MAX_KEY_BYTES: Final = 512
_NEVER: Final = float("inf")


class KeyTable:
    """API keys by the sha256 of their text. Immutable; replaced as a whole."""

    __slots__ = ("_callers", "_clock", "_contacts", "_seen")

    def __init__(self, environments: Iterable[Environment], clock: Clock) -> None:
        """Index the keys of these environments."""
        self._clock = clock
        self._contacts: list[Environment] = list(environments)
        self._callers: dict[str, tuple[Caller, float]] = {
            digest: (Caller(key, environment), key.expires_at.timestamp() if key.expires_at else _NEVER)
            for environment in self._contacts
            for digest, key in environment.snapshot.keys.items()
        }
        self._seen: dict[bytes, tuple[Caller, float]] = {}

    def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Return the caller of these ASGI headers.

        An unknown key costs one digest and one look-up of it, and nothing about a secret can be learnt from how long a
        look-up of its digest takes. A key that was right once is found by its text, whose hash nobody outside can know.

        Raises:
            HeadwaterError: ``unauthenticated``; ``config_unavailable`` while control is away and the key may be new.
        """
        key = _bearer(headers)
        found = self._seen.get(key)
        if found is None:
            found = self._look_up(key)
        caller, expires_at = found
        if expires_at is not _NEVER and self._clock.now().timestamp() >= expires_at:
            raise HeadwaterError(
                "unauthenticated",
                f"the key {caller.key.prefix}… has expired",
                hint="create another: headwater keys create",
            )
        return caller

    def _look_up(self, key: bytes) -> tuple[Caller, float]:
        found = self._callers.get(hashlib.sha256(key).hexdigest())
        if found is None:
            raise self._unknown()
        self._seen[key] = found  # as many at most as there are keys
        return found

    def _unknown(self) -> HeadwaterError:
        hint = "create one: headwater keys create"
        for environment in self._contacts:
            if environment.contact.is_stale:
                return environment.missing("unauthenticated", "the key is not known", hint=hint)
        return HeadwaterError("unauthenticated", "the key is not known", hint=hint)


def _bearer(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the key in the one Authorization header."""
    value: bytes | None = None
    for name, candidate in headers:
        if name == b"authorization":
            if value is not None:
                raise HeadwaterError("unauthenticated", "there are two Authorization headers", hint="send one")
            value = candidate
    if value is None or value[:7].lower() != _SCHEME:
        raise HeadwaterError(
            "unauthenticated", "there is no API key", hint="send the header 'Authorization: Bearer hw_…'"
        )
    key = value[7:].strip()
    if not key or len(key) > _MAX_KEY_BYTES:
        raise HeadwaterError("unauthenticated", "the API key is not well formed")
    return key
