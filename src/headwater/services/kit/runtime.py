"""What the services of one process share: journal, lake, group commit, environments and who may call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from headwater.core.addresses import read_networks
from headwater.core.clock import Clock, SystemClock
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableStore
from headwater.services.kit.committer import GroupCommitter
from headwater.services.kit.key_uses import KeyUses
from headwater.services.kit.keys import KeyTable
from headwater.services.kit.service import Caller, Environment


class ProcessRuntime:
    """The ``Runtime`` of a process. Environments are swapped by the snapshot client, everything else stays."""

    def __init__(
        self,
        settings: Settings,
        *,
        journal: Journal,
        lake: TableStore,
        clock: Clock | None = None,
    ) -> None:
        """Begin without environments; ``close`` ends what this starts and closes ``journal``."""
        self._settings = settings
        self._home = Home(settings.home)
        self._clock = clock or SystemClock()
        self._journal = journal
        self._lake = lake
        self._committer = GroupCommitter(journal)
        self._environments: Mapping[str, Environment] = MappingProxyType({})
        self.key_uses = KeyUses()
        self._proxies = read_networks(settings.services.trusted_proxies)
        self._keys = KeyTable((), self._clock)
        self._loaded = False

    @property
    def settings(self) -> Settings:
        """Return the settings."""
        return self._settings

    @property
    def home(self) -> Home:
        """Return the home."""
        return self._home

    @property
    def clock(self) -> Clock:
        """Return the clock."""
        return self._clock

    @property
    def journal(self) -> Journal:
        """Return the journal of this process."""
        return self._journal

    @property
    def lake(self) -> TableStore:
        """Return the tables."""
        return self._lake

    @property
    def committer(self) -> GroupCommitter:
        """Return the group commit in front of the journal."""
        return self._committer

    @property
    def environments(self) -> Mapping[str, Environment]:
        """Return the environments by id; a new mapping after each swap."""
        return self._environments

    @property
    def is_loaded(self) -> bool:
        """Return whether a configuration was ever in force."""
        return self._loaded

    def authenticate(self, headers: Sequence[tuple[bytes, bytes]], peer: str | None = None) -> Caller:
        """Return who sends these ASGI headers from ``peer``; raises as ``Runtime.authenticate`` does."""
        if not self._loaded:
            raise HeadwaterError(
                "config_unavailable", "no configuration was loaded yet", hint="see /readyz", retry_after_seconds=1
            )
        return self._keys.authenticate(headers, peer)

    def swap(self, environment: Environment) -> Environment | None:
        """Put ``environment`` in force and return the one it replaces. Requests under way keep what they read."""
        previous = self._environments.get(environment.id)
        self._replace({**self._environments, environment.id: environment})
        self._loaded = True
        return previous

    def close(self) -> None:
        """Make durable what waits and release the journal."""
        self._committer.close()
        self._journal.close()

    def _replace(self, environments: dict[str, Environment]) -> None:
        keys = KeyTable(environments.values(), self._clock, uses=self.key_uses, proxies=self._proxies)
        self.key_uses.keep(key.id for one in environments.values() for key in one.snapshot.keys.values())
        # Keys last: a key that is found must name an environment that is there.
        self._environments = MappingProxyType(environments)
        self._keys = keys
