"""When keys were last used: noted by every request in passing, told to control now and then, in one message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

REPORT_SECONDS: Final = 20.0
MAX_REPORTED: Final = 5_000


class KeyUse:
    """The last use of one key, in seconds since 1970, and what control was told; 0: never here."""

    __slots__ = ("at", "told")

    def __init__(self) -> None:
        """Begin unused."""
        self.at = 0.0
        self.told = 0.0


class KeyUses:
    """The uses of every key of the process, by the key's id; they outlive the tables of keys. Used from one loop."""

    def __init__(self) -> None:
        """Begin with none."""
        self._uses: dict[str, KeyUse] = {}

    def of(self, key_id: str) -> KeyUse:
        """Return where the use of a key is noted."""
        return self._uses.setdefault(key_id, KeyUse())

    def keep(self, key_ids: Iterable[str]) -> None:
        """Forget keys that are no longer served and of which control knows all."""
        kept = set(key_ids)
        self._uses = {name: use for name, use in self._uses.items() if name in kept or use.at > use.told}

    def untold(self) -> list[tuple[str, KeyUse, float]]:
        """Return the keys that were used since control was last told, with when."""
        return [(name, use, use.at) for name, use in self._uses.items() if use.at > use.told][:MAX_REPORTED]


async def report_uses(uses: KeyUses, post: Callable[[str, Any], Awaitable[bool]]) -> bool:
    """Tell control what it does not know; return whether it knows all now. What it did not take is told again."""
    untold = uses.untold()
    if not untold:
        return True
    document = {"uses": [{"key": name, "at": datetime.fromtimestamp(at, UTC).isoformat()} for name, _, at in untold]}
    if not await post("/internal/v1/key-uses", document):
        return False
    for _, use, at in untold:
        use.told = at
    return True


class UseReporter:
    """Reports every ``REPORT_SECONDS``, and once more at the end."""

    def __init__(self, uses: KeyUses, post: Callable[[str, Any], Awaitable[bool]]) -> None:
        """Report ``uses`` with ``post``, which returns whether control took a document."""
        self._uses = uses
        self._post = post
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Report in the background."""
        self._task = asyncio.create_task(self._run(), name="key-uses")

    async def stop(self) -> None:
        """Report what is left, if control is there, and end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await report_uses(self._uses, self._post)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            await report_uses(self._uses, self._post)
