"""Putting snapshots in force: verify, compile for every service, swap, keep on disk; refuse what cannot be trusted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.sealed_snapshot import SignedSnapshot, load_public_key
from headwater.core.snapshot import Snapshot
from headwater.core.snapshot_reader import SnapshotReader
from headwater.services.kit.collection import CollectionPause
from headwater.services.kit.key_uses import KeyUses
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import Contact, Divisible, Environment, Releasing, Service
from headwater.services.kit.snapshot_store import SnapshotStore

_log = get_logger(__name__)


@dataclass(slots=True)
class _Entry:
    """What is known of one environment beside what is in force.

    Digests in force and last seen, the last refusal, and whether control has stopped listing it. ``reader`` read its
    snapshots so far; ``lock`` lets one be read and put in force at a time.
    """

    lock: asyncio.Lock
    reader: SnapshotReader
    sha256: str | None = None
    seen_sha256: str | None = None
    error: str | None = None
    is_missed: bool = False


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """What one environment runs, for ``/readyz``, ``/internal/v1/status`` and the acknowledgement to control."""

    id: str
    number: int | None
    sha256: str | None
    error: str | None
    config_age_seconds: float | None


class Configuration:
    """The configuration of a process. One per process; used from its event loop only."""

    def __init__(self, runtime: ProcessRuntime, services: Sequence[Service]) -> None:
        """Compile for ``services`` and swap into ``runtime``."""
        self._runtime = runtime
        self._services = tuple(services)
        self._store = SnapshotStore(runtime.home.snapshots)
        self._entries: dict[str, _Entry] = {}
        self._key: Ed25519PublicKey | None = None
        self._collection = CollectionPause()

    @property
    def key_uses(self) -> KeyUses:
        """Return when the keys of this process were last used."""
        return self._runtime.key_uses

    @property
    def is_trusting(self) -> bool:
        """Return whether the public key was read, without which nothing can be verified."""
        return self._key is not None

    def read_trust(self) -> bool:
        """Read the public key from the home; return whether it is there.

        Raises:
            HeadwaterError: ``snapshot_invalid`` when the file holds no key.
        """
        try:
            text = self._runtime.home.snapshot_public_key.read_text(encoding="ascii")
        except FileNotFoundError:
            return False
        self._key = load_public_key(text)
        return True

    async def load_from_disk(self) -> None:
        """Put the newest usable snapshot of every kept environment in force, whatever its age."""
        for environment_id in await asyncio.to_thread(self._store.environments):
            await self._load(environment_id)

    async def offer(self, environment_id: str, signed: SignedSnapshot) -> None:
        """Put a snapshot from control in force.

        Raises:
            HeadwaterError: ``snapshot_invalid`` or whatever a service refused it with; what was in force stays.
        """
        entry = self._entry(environment_id)
        async with entry.lock:
            entry.seen_sha256 = signed.sha256
            if signed.sha256 == entry.sha256:
                entry.error = None
                return
            try:
                with self._collection.hold():
                    snapshot = await asyncio.to_thread(self._verify, environment_id, signed, entry.reader)
                    await self._put_in_force(entry, signed, snapshot, Contact())
            except HeadwaterError as error:
                entry.error = error.detail
                _log.error("snapshot_refused", environment=environment_id, error=error.detail)
                raise
            await self._keep(signed, snapshot)

    def miss(self, environment_id: str) -> None:
        """Note that control does not list an environment; what is in force and on disk stays.

        Control has answered, so nothing newer can be on its way: a key that is unknown here is unknown.
        """
        entry = self._entry(environment_id)
        environment = self._runtime.environments.get(environment_id)
        if environment is not None:
            environment.contact.confirm()
        if not entry.is_missed:
            entry.is_missed = True
            _log.error("environment_unknown_to_control", environment=environment_id)

    def confirm(self, environment_id: str, sha256: str) -> None:
        """Note that control says ``sha256`` is the newest; counts only when it is what is in force."""
        entry = self._entry(environment_id)
        entry.is_missed = False
        environment = self._runtime.environments.get(environment_id)
        if environment is not None and entry.sha256 == sha256:
            environment.contact.confirm()

    def seen(self, environment_id: str) -> str | None:
        """Return the digest control offered last, in force or refused: what need not be offered again."""
        return self._entry(environment_id).seen_sha256

    def known(self) -> list[str]:
        """Return every environment that is in force or was offered."""
        return sorted(self._entries)

    def status(self, environment_id: str) -> EnvironmentStatus:
        """Return what an environment runs."""
        entry = self._entry(environment_id)
        error = self._unknown_to_control(environment_id) if entry.is_missed else entry.error
        environment = self._runtime.environments.get(environment_id)
        if environment is None:
            return EnvironmentStatus(environment_id, None, None, error, None)
        age = environment.contact.age_seconds
        return EnvironmentStatus(environment_id, environment.snapshot.number, entry.sha256, error, age)

    def statuses(self) -> list[EnvironmentStatus]:
        """Return what every known environment runs."""
        return [self.status(environment_id) for environment_id in self.known()]

    def _unknown_to_control(self, environment_id: str) -> str:
        kept = self._runtime.home.snapshots / environment_id
        return (
            "control does not know it, so its database was reset or is another one: restore that from a backup; "
            f"to give the environment up, stop services, delete {kept} and start them"
        )

    async def _load(self, environment_id: str) -> None:
        entry = self._entry(environment_id)
        assert self._key is not None
        async with entry.lock:
            kept = self._store.load(environment_id, self._key, entry.reader)
            while (found := await asyncio.to_thread(next, kept, None)) is not None:
                signed, snapshot = found
                try:
                    with self._collection.hold():
                        await self._put_in_force(entry, signed, snapshot, Contact(confirmed=False))
                except HeadwaterError as error:
                    entry.error = f"snapshot {snapshot.number} on disk: {error.detail}"
                    _log.warning("snapshot_file_does_not_compile", environment=environment_id, error=error.detail)
                    continue
                entry.seen_sha256 = signed.sha256
                return

    def _verify(self, environment_id: str, signed: SignedSnapshot, reader: SnapshotReader) -> Snapshot:
        if self._key is None:
            raise HeadwaterError("snapshot_invalid", "there is no public key to verify snapshots with")
        snapshot = signed.verify(self._key, reader)
        if snapshot.environment.id != environment_id:
            raise HeadwaterError(
                "snapshot_invalid", f"a snapshot of {snapshot.environment.id} came in place of {environment_id}"
            )
        current = self._runtime.environments.get(environment_id)
        if current is not None and snapshot.number <= current.snapshot.number:
            raise HeadwaterError(
                "snapshot_invalid",
                f"snapshot {snapshot.number} is not newer than {current.snapshot.number}, which is in force",
                hint="if control was restored from an older backup, publish until its numbers have caught up",
            )
        return snapshot

    async def _put_in_force(self, entry: _Entry, signed: SignedSnapshot, snapshot: Snapshot, contact: Contact) -> None:
        previous = self._runtime.environments.get(snapshot.environment.id)
        before = previous.compiled if previous is not None else {}
        compiled: dict[str, Any] = {}
        try:
            await asyncio.to_thread(self._compile, snapshot, before, compiled)
        except HeadwaterError:
            self._release(compiled)  # what the services before the one that refuses it hold already
            raise
        replaced = self._runtime.swap(Environment(snapshot, compiled, contact))
        entry.sha256 = signed.sha256
        entry.error = None
        if replaced is not None:
            self._release(replaced.compiled)
            pieces = _pieces_of(replaced)
            del before, previous, replaced
            await asyncio.to_thread(_let_go, pieces)
        self._collection.set_aside(snapshot.count())
        _log.info("snapshot_in_force", environment=snapshot.environment.id, number=snapshot.number)

    def _compile(self, snapshot: Snapshot, before: Mapping[str, Any], compiled: dict[str, Any]) -> None:
        """Compile for every service into ``compiled``; runs in a thread so that requests go on meanwhile."""
        for service in self._services:
            try:
                compiled[service.name] = service.compile(snapshot, before.get(service.name))
            except HeadwaterError:
                raise
            except Exception as error:
                _log.exception("snapshot_compile_failed", service=service.name, number=snapshot.number)
                raise HeadwaterError("snapshot_invalid", f"{service.name} cannot use it: {error}") from error

    async def _keep(self, signed: SignedSnapshot, snapshot: Snapshot) -> None:
        try:
            await asyncio.to_thread(self._store.save, signed, snapshot)
        except OSError as error:
            # It is in force all the same; only a restart without control would go back to the one before.
            _log.error("snapshot_not_kept", number=snapshot.number, error=str(error))

    def _release(self, compiled: Mapping[str, Any]) -> None:
        for service in self._services:
            if isinstance(service, Releasing) and service.name in compiled:
                service.release(compiled[service.name])

    def _entry(self, environment_id: str) -> _Entry:
        return self._entries.setdefault(environment_id, _Entry(asyncio.Lock(), SnapshotReader()))


def _pieces_of(environment: Environment) -> list[object]:
    """Return the many things that an environment consists of."""
    snapshot = environment.snapshot
    members = (snapshot.datasets, snapshot.endpoints, snapshot.flags, snapshot.policies, snapshot.keys)
    pieces: list[object] = [spec for member in members for spec in member.values()]
    for compiled in environment.compiled.values():
        if isinstance(compiled, Divisible):
            pieces += compiled.pieces()
    return pieces


def _let_go(pieces: list[object]) -> None:
    """Drop what was replaced one by one: all at once, nothing else would run until the last of it is freed."""
    while pieces:
        pieces.pop()
