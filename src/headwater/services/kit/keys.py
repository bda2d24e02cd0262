"""Who holds which API key, from where: one table over all environments, made anew at every swap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from headwater.core.addresses import Network, client_address, is_within, read_networks
from headwater.core.clock import Clock
from headwater.core.errors import HeadwaterError
from headwater.services.kit.key_uses import KeyUses
from headwater.services.kit.service import Caller, Environment

_SCHEME: Final = b"bearer "
_MAX_KEY_BYTES: Final = 512
_NEVER: Final = float("inf")


class KeyTable:
    """API keys by the sha256 of their text. Immutable; replaced as a whole."""

    __slots__ = ("_callers", "_clock", "_contacts", "_proxies", "_seen")

    def __init__(
        self,
        environments: Iterable[Environment],
        clock: Clock,
        *,
        uses: KeyUses | None = None,
        proxies: Sequence[Network] = (),
    ) -> None:
        """Index the keys of these environments, whose use ``uses`` notes; ``proxies`` may say who they speak for."""
        uses = uses or KeyUses()
        self._clock = clock
        self._proxies = proxies
        self._contacts: list[Environment] = list(environments)
        self._callers: dict[str, tuple[Caller, float]] = {
            digest: _entry(Caller(key, environment, uses.of(key.id), read_networks(key.cidrs) if key.cidrs else None))
            for environment in self._contacts
            for digest, key in environment.snapshot.keys.items()
        }
        self._seen: dict[bytes, tuple[Caller, float]] = {}

    def authenticate(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None = None) -> Caller:
        """Return the caller of these ASGI headers, who is connected from ``peer``.

        An unknown key costs one digest and one look-up of it, and nothing about a secret can be learnt from how long a
        look-up of its digest takes. A key that was right once is found by its text, whose hash nobody outside can know.

        Raises:
            HeadwaterError: ``unauthenticated``; ``config_unavailable`` while control is away and the key may be new;
                ``forbidden`` for a key that may not be used from there.
        """
        key = _bearer(headers)
        found = self._seen.get(key)
        if found is None:
            found = self._look_up(key)
        caller, changes_at = found
        now = self._clock.now().timestamp()
        if now >= changes_at:
            caller = self._move_on(key, caller)
        if caller.networks is not None:
            self._check_place(caller, headers, peer)
        caller.use.at = now
        return caller

    def _move_on(self, key: bytes, caller: Caller) -> Caller:
        """Return the caller as grants that ended by now leave it; raises ``unauthenticated`` once the key is over."""
        now = self._clock.now()
        if caller.key.expires_at is not None and now >= caller.key.expires_at:
            raise HeadwaterError(
                "unauthenticated",
                f"the key {caller.key.prefix}… has expired",
                hint="create another: headwater keys create",
            )
        found = _entry(replace(caller, key=caller.key.at(now)))
        self._seen[key] = self._callers[hashlib.sha256(key).hexdigest()] = found
        return found[0]

    def _check_place(self, caller: Caller, headers: Sequence[tuple[bytes, bytes]], peer: str | None) -> None:
        forwarded = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        address = client_address(peer, forwarded, self._proxies)
        if not is_within(address, caller.networks or ()):
            raise HeadwaterError(
                "forbidden",
                f"the key {caller.key.prefix}… may not be used from {address or 'an unknown address'}",
                hint="its networks are those of the key; behind a proxy, set services.trusted_proxies",
            )

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


def _entry(caller: Caller) -> tuple[Caller, float]:
    """Return a caller with when it changes, in seconds since 1970: a grant behind the key ends, or the key itself."""
    ends = [phase.starts_at for phase in caller.key.later[:1]]
    if caller.key.expires_at is not None:
        ends.append(caller.key.expires_at)
    return caller, min(ends).timestamp() if ends else _NEVER


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
