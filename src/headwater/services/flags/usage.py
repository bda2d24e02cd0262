"""How often flags are evaluated: counted in memory, told to control in batches, each counted once there.

A batch keeps its number until control has taken it, so one whose answer was lost is not counted twice. What was not
told when the process dies is lost: these are counts to find flags that nobody asks for, and no ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import httpx

from headwater.core.home import Home
from headwater.core.ids import new_id
from headwater.core.logging import get_logger

INTERVAL_SECONDS: Final = 10.0
_TIMEOUT_SECONDS: Final = 5.0
_log = get_logger(__name__)


class Usage:
    """Counts by environment, flag and variant. Used from one event loop."""

    def __init__(self) -> None:
        """Begin at zero."""
        self._single: dict[tuple[str, str, str], int] = {}
        self._bulk: dict[str, int] = {}

    def count(self, environment_id: str, key: str, variant: str) -> None:
        """Count an evaluation of one flag."""
        counted = environment_id, key, variant
        self._single[counted] = self._single.get(counted, 0) + 1

    def count_bulk(self, environment_id: str) -> None:
        """Count a request for all flags."""
        self._bulk[environment_id] = self._bulk.get(environment_id, 0) + 1

    def take(self) -> dict[str, Any]:
        """Return the counts by environment, and begin anew."""
        single, self._single = self._single, {}
        bulk, self._bulk = self._bulk, {}
        taken: dict[str, Any] = {}
        for (environment_id, key, variant), count in single.items():
            flags = taken.setdefault(environment_id, {"bulk": 0, "flags": {}})["flags"]
            flags.setdefault(key, {})[variant] = count
        for environment_id, count in bulk.items():
            taken.setdefault(environment_id, {"bulk": 0, "flags": {}})["bulk"] = count
        return taken


class UsageReporter:
    """Tells control, every so often, what was counted."""

    def __init__(
        self, usage: Usage, home: Home, control_url: str, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Prepare to tell the control plane at ``control_url``."""
        self._usage = usage
        self._home = home
        self._url = f"{control_url.rstrip('/')}/internal/v1/flags/usage"
        self._transport = transport
        self._http: httpx.AsyncClient | None = None
        self._node = new_id("nod")
        self._number = 0
        self._waiting: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; called on the event loop."""
        self._http = httpx.AsyncClient(trust_env=False, timeout=_TIMEOUT_SECONDS, transport=self._transport)
        self._task = asyncio.create_task(self._run(), name="flag-usage")

    async def stop(self) -> None:
        """Tell what is left, once, and stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._http is not None:
            if await self.report():
                await self.report()
            await self._http.aclose()

    async def report(self) -> bool:
        """Tell control the batch that waits, or else what was counted since; return whether it has taken it."""
        if self._waiting is None:
            counts = self._usage.take()
            if not counts:
                return False
            self._number += 1
            self._waiting = {"node": self._node, "batch": self._number, "environments": counts}
        assert self._http is not None, "start comes first"
        try:
            token = self._home.node_token.read_text(encoding="ascii").strip()
            headers = {"authorization": f"Bearer {token}"}
            response = await self._http.post(self._url, json=self._waiting, headers=headers)
            response.raise_for_status()
        except (httpx.HTTPError, OSError, ValueError) as error:
            _log.debug("flag_usage_not_reported", error=str(error))
            return False
        self._waiting = None
        return True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.report()
