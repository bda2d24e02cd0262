"""What a service is, and what one service process shares among its services.

The kit builds one ``Runtime`` per process; ingest, query and inference are each a ``Service`` made from it. Compiled
configuration is immutable and swapped as a whole: a request reads ``runtime.environments`` once and keeps what it got.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from fastapi import APIRouter
from prometheus_client.registry import Collector

from headwater.core.addresses import Network
from headwater.core.clock import Clock
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.core.snapshot import KeySpec, Snapshot
from headwater.engines.journal.protocol import Journal, JournalTransaction
from headwater.engines.lake.protocol import TableStore
from headwater.services.kit.key_uses import KeyUse

ASGIScope = dict[str, Any]
HotHandler = Callable[[ASGIScope, Callable[..., Any], Callable[..., Any]], Any]


STALE_AFTER_SECONDS: Final = 60.0


class Contact:
    """When control last confirmed that a configuration is the newest; never, for one that came from disk."""

    __slots__ = ("_confirmed_at", "_since")

    def __init__(self, *, confirmed: bool = True) -> None:
        """Begin now, with or without control's word."""
        self._since = time.monotonic()
        self._confirmed_at: float | None = self._since if confirmed else None

    def confirm(self) -> None:
        """Note that control just said so."""
        self._confirmed_at = time.monotonic()

    @property
    def age_seconds(self) -> float:
        """Return the seconds since control's last word, or since the start if it never spoke."""
        return time.monotonic() - (self._since if self._confirmed_at is None else self._confirmed_at)

    @property
    def is_stale(self) -> bool:
        """Return whether something newer may well exist."""
        return self._confirmed_at is None or self.age_seconds > STALE_AFTER_SECONDS


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment as this process serves it: its snapshot and what each service compiled from it."""

    snapshot: Snapshot
    compiled: Mapping[str, Any] = field(default_factory=dict)
    contact: Contact = field(default_factory=Contact, compare=False)

    @property
    def id(self) -> str:
        """Return the environment's id, the first part of its streams."""
        return self.snapshot.environment.id

    def missing(self, code: str, detail: str, *, hint: str | None = None) -> HeadwaterError:
        """Return the error for something this configuration lacks.

        While control is away the thing may be new, so ``config_unavailable`` (try again) takes the place of ``code``.
        """
        if self.contact.is_stale:
            return HeadwaterError(
                "config_unavailable",
                f"{detail}, as far as configuration {self.snapshot.number} knows; control is away, so it may be new",
                hint="try again when control is back",
                retry_after_seconds=5,
            )
        return HeadwaterError(code, detail, hint=hint)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: an API key and the environment that the key names.

    ``use`` notes when the key was last used; ``networks`` limits where from, None: anywhere.
    """

    key: KeySpec
    environment: Environment
    use: KeyUse = field(default_factory=KeyUse, compare=False)
    networks: tuple[Network, ...] | None = None


class Commit(Protocol):
    """Something to be written in the next journal transaction, together with whatever else waits."""

    def apply(self, transaction: JournalTransaction) -> None:
        """Write it. Runs in the writer thread; raising voids the transaction for this commit alone."""
        ...


class Committer(Protocol):
    """Group commit: everything that waits goes into one durable transaction."""

    def submit(self, commit: Commit) -> Future[None]:
        """Queue a commit; the future resolves when it is durable, or with the error that voided it."""
        ...


class Runtime(Protocol):
    """What the services of one process share."""

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        ...

    @property
    def home(self) -> Home:
        """Return the home."""
        ...

    @property
    def clock(self) -> Clock:
        """Return the clock."""
        ...

    @property
    def journal(self) -> Journal:
        """Return the journal of this process."""
        ...

    @property
    def lake(self) -> TableStore:
        """Return the tables."""
        ...

    @property
    def committer(self) -> Committer:
        """Return the group commit in front of the journal."""
        ...

    @property
    def environments(self) -> Mapping[str, Environment]:
        """Return the environments by id; a new mapping after each swap."""
        ...

    def authenticate(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None = None) -> Caller:
        """Return who sends these ASGI headers from the address ``peer``; without one, keys with networks are refused.

        Raises:
            HeadwaterError: ``unauthenticated``, ``forbidden`` from a place where the key may not be used, or
                ``config_unavailable`` while no snapshot was ever loaded.
        """
        ...


class Service(Protocol):
    """One data-plane service. ``create(runtime)`` of its package makes it."""

    @property
    def name(self) -> str:
        """Return ``ingest``, ``query`` or ``inference``."""
        ...

    def compile(self, snapshot: Snapshot, previous: Any | None) -> Any:
        """Turn a snapshot into what requests need; runs in a thread before the swap.

        Args:
            snapshot: the new snapshot.
            previous: what this method returned for the last snapshot of the environment, to reuse what did not change.

        Raises:
            HeadwaterError: the snapshot is refused and the old one stays.
        """
        ...

    def router(self) -> APIRouter:
        """Return the documented routes."""
        ...

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return raw ASGI handlers by (method, path template), asked before FastAPI; same answers as the router."""
        ...

    def internal_router(self) -> APIRouter | None:
        """Return routes below ``/internal/v1`` for control, guarded by the node token."""
        ...

    async def start(self) -> None:
        """Acquire what the service needs; called once before the first request."""
        ...

    async def stop(self) -> None:
        """Finish what was begun and release everything."""
        ...

    def problems(self) -> Sequence[str]:
        """Return why the service is not ready, empty when it is."""
        ...


@runtime_checkable
class Degradable(Protocol):
    """A service that can serve in part: what is missing is shown in ``/readyz`` without making it fail."""

    def degradations(self) -> Sequence[str]:
        """Return what does not work while the rest does, one sentence each."""
        ...


@runtime_checkable
class Documented(Protocol):
    """A service whose resources have interfaces of their own, such as one path for each model."""

    def openapi_paths(self, caller: Caller) -> Mapping[str, Any]:
        """Return OpenAPI path items for what ``caller`` may use."""
        ...


@runtime_checkable
class WithSchemas(Documented, Protocol):
    """A service whose path items refer to schemas of their own."""

    def openapi_schemas(self, caller: Caller) -> Mapping[str, Any]:
        """Return those that the paths for ``caller`` refer to, by names that no other service uses."""
        ...


@runtime_checkable
class Releasing(Protocol):
    """A service whose compiled configuration holds something to be let go when it is replaced."""

    def release(self, compiled: Any) -> None:
        """Let go of what ``compile`` returned; requests that began with it may still be running."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A compiled configuration of many parts, which can be let go one by one."""

    def pieces(self) -> list[object]:
        """Return the parts."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A service with metrics of its own beside those in prometheus_client's default registry."""

    def collectors(self) -> Sequence[Collector]:
        """Return what ``/metrics`` shows of this service; called once."""
        ...
