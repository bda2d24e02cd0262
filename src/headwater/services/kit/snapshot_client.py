"""Following control: list the environments, long-poll the newest snapshot of each, tell control what runs here.

It is also told when keys were last used. Control may be away for any time: what is in force stays in force, and
polling goes on, less often, until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec

from headwater.core.clock import Clock
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.services.kit.configuration import Configuration, EnvironmentStatus
from headwater.services.kit.key_uses import UseReporter

LIST_SECONDS: Final = 0.75
WAIT_SECONDS: Final = 25
_POLL_TIMEOUT: Final = httpx.Timeout(5.0, read=WAIT_SECONDS + 10.0)
_BACKOFF_FIRST_SECONDS: Final = 0.1
_BACKOFF_LIMIT_SECONDS: Final = 2.0
_TRUST_SECONDS: Final = 0.2
_POLL_GAP_SECONDS: Final = 0.02

_log = get_logger(__name__)


class _Listed(msgspec.Struct):
    id: str
    number: int
    sha256: str


class _Listing(msgspec.Struct):
    environments: list[_Listed]


class _Backoff:
    """Growing, jittered pauses, so that a fleet does not return to control in step."""

    def __init__(self) -> None:
        self._seconds = _BACKOFF_FIRST_SECONDS

    def reset(self) -> None:
        self._seconds = _BACKOFF_FIRST_SECONDS

    async def pause(self) -> None:
        await asyncio.sleep(self._seconds * random.uniform(0.5, 1.5))  # noqa: S311 - spreads load, guards nothing
        self._seconds = min(self._seconds * 2, _BACKOFF_LIMIT_SECONDS)


class SnapshotClient:
    """Keeps a ``Configuration`` at what control publishes."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        home: Home,
        control_url: str,
        node: str,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare to follow the control plane at ``control_url`` under the name ``node``."""
        self._configuration = configuration
        self._home = home
        self._clock = clock
        self.node = node
        # Proxies and certificates of the shell's environment have no place on this path.
        self._http = httpx.AsyncClient(
            base_url=control_url,
            trust_env=False,
            timeout=5.0,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            transport=transport,
        )
        self._reporter = UseReporter(configuration.key_uses, self.post)
        self._task: asyncio.Task[None] | None = None
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._acknowledged: dict[str, tuple[int | None, str | None]] = {}
        self._trouble: str | None = "control was not asked yet"

    async def start(self) -> None:
        """Put what is on disk in force, then follow control in the background."""
        if self._read_trust():
            await self._configuration.load_from_disk()
        self._task = asyncio.create_task(self._run(), name="snapshot-client")
        await self._reporter.start()

    async def stop(self) -> None:
        """Stop following."""
        tasks = [task for task in (self._task, *self._followers.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._reporter.stop()
        await self._http.aclose()

    @property
    def trouble(self) -> str | None:
        """Return why control cannot be followed at present."""
        return self._trouble

    async def post(self, path: str, document: Any) -> bool:
        """Tell control something; return whether it took it."""
        try:
            return (await self._http.post(path, json=document)).is_success
        except (httpx.HTTPError, OSError):
            return False

    def _read_trust(self) -> bool:
        """Return whether the files that establish trust are there; ``trouble`` says which is not."""
        try:
            if not self._configuration.is_trusting and not self._configuration.read_trust():
                self._trouble = (
                    f"waiting for {self._home.snapshot_public_key}, which control writes when it first starts"
                )
                return False
            token = self._home.node_token.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            self._trouble = f"waiting for {self._home.node_token}, which control writes when it first starts"
            return False
        except (HeadwaterError, OSError, ValueError) as error:
            self._trouble = f"the trust between control and services is broken: {error}"
            return False
        self._http.headers["authorization"] = f"Bearer {token}"
        return True

    async def _run(self) -> None:
        loaded = self._configuration.is_trusting
        while not self._read_trust():  # noqa: ASYNC110 - files appear without an event
            await asyncio.sleep(_TRUST_SECONDS)
        if not loaded:
            await self._configuration.load_from_disk()
        backoff = _Backoff()
        while True:
            try:
                await self._reconcile(await self._list())
            except (httpx.HTTPError, msgspec.MsgspecError, HeadwaterError, OSError) as error:
                self._note_trouble(f"control does not answer: {error or type(error).__name__}")
                self._read_trust()  # the token may have been renewed
                await backoff.pause()
            else:
                self._note_trouble(None)
                backoff.reset()
                await asyncio.sleep(LIST_SECONDS)

    def _note_trouble(self, trouble: str | None) -> None:
        if (trouble is None) != (self._trouble is None):
            _log.info("control_followed" if trouble is None else "control_away", trouble=trouble)
        self._trouble = trouble

    async def _list(self) -> list[_Listed]:
        response = await self._http.get("/internal/v1/snapshots")
        response.raise_for_status()
        return msgspec.json.decode(response.content, type=_Listing).environments

    async def _reconcile(self, listed: list[_Listed]) -> None:
        """Follow what is listed and acknowledge what changed.

        Control never removes an environment. One that it does not list was lost with its database, so what is in force
        stays, also on disk: it may be all that still knows the keys and contracts of the data here.
        """
        ids = {item.id for item in listed}
        for missing in [known for known in {*self._configuration.known(), *self._followers} if known not in ids]:
            await self._unfollow(missing)
        for item in listed:
            self._configuration.confirm(item.id, item.sha256)
            follower = self._followers.get(item.id)
            if follower is None or follower.done():
                self._followers[item.id] = asyncio.create_task(self._follow(item.id), name=f"follow-{item.id}")
            await self._acknowledge(item.id)

    async def _unfollow(self, environment_id: str) -> None:
        follower = self._followers.pop(environment_id, None)
        if follower is not None:
            follower.cancel()
            await asyncio.gather(follower, return_exceptions=True)
        self._acknowledged.pop(environment_id, None)
        self._configuration.miss(environment_id)

    async def _follow(self, environment_id: str) -> None:
        """Long-poll one environment until control says that it does not exist."""
        backoff = _Backoff()
        while True:
            await asyncio.sleep(_POLL_GAP_SECONDS)  # a control that answers at once must not be asked without pause
            try:
                response = await self._poll(environment_id)
                if response.status_code == HTTPStatus.NOT_FOUND:
                    return
                if response.status_code == HTTPStatus.NOT_MODIFIED:
                    backoff.reset()
                    continue
                response.raise_for_status()
                # Shielded: a swap under way ends whole, also when following stops meanwhile.
                await asyncio.shield(self._configuration.offer(environment_id, SignedSnapshot.parse(response.content)))
                backoff.reset()
            except (httpx.HTTPError, HeadwaterError, OSError) as error:
                _log.debug("snapshot_poll_failed", environment=environment_id, error=str(error))
                await backoff.pause()
            await self._acknowledge(environment_id)

    async def _poll(self, environment_id: str) -> httpx.Response:
        seen = self._configuration.seen(environment_id)
        return await self._http.get(
            f"/internal/v1/snapshots/{quote(environment_id, safe='')}",
            params={"wait": WAIT_SECONDS},
            headers={"if-none-match": f'"{seen}"'} if seen else {},
            timeout=_POLL_TIMEOUT,
        )

    async def _acknowledge(self, environment_id: str) -> None:
        """Tell control what runs here if that changed since it was last told; the next listing tries again."""
        status = self._configuration.status(environment_id)
        state = (status.number, status.error)
        if self._acknowledged.get(environment_id) == state or state == (None, None):
            return
        with contextlib.suppress(httpx.HTTPError, OSError):
            response = await self._http.post("/internal/v1/acks", json=self._acknowledgement(status))
            if response.is_success:
                self._acknowledged[environment_id] = state

    def _acknowledgement(self, status: EnvironmentStatus) -> dict[str, Any]:
        return {
            "node": self.node,
            "environment": status.id,
            "number": status.number or 0,
            "error": status.error,
            "applied_at": self._clock.now().isoformat(),
        }
