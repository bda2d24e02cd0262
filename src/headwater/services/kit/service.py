"""What a service is, and what one service process shares among its services.

The kit builds one ``Runtime`` per process; ingest, query and inference are each a ``Service`` made from it. Compiled
configuration is immutable and swapped as a whole: a request reads ``runtime.environments`` once and keeps what it got.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import APIRouter

from headwater.core.clock import Clock
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.core.snapshot import KeySpec, Snapshot
from headwater.engines.journal.protocol import Journal, JournalTransaction
from headwater.engines.lake.protocol import TableStore

ASGIScope = dict[str, Any]
HotHandler = Callable[[ASGIScope, Callable[..., Any], Callable[..., Any]], Any]


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment as this process serves it: its snapshot and what each service compiled from it."""

    snapshot: Snapshot
    compiled: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Return the environment's id, the first part of its streams."""
        return self.snapshot.environment.id


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: an API key and the environment that the key names."""

    key: KeySpec
    environment: Environment


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

    def authenticate(self, headers: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Return who sends these ASGI headers.

        Raises:
            HeadwaterError: ``unauthenticated``, or ``config_unavailable`` while no snapshot was ever loaded.
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
