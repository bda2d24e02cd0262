"""A model of keyed requests: whatever is sent again, however often and with failures in between, happens once."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import httpx
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tests.builders.datasets import make_contract, make_dataset
from tests.fakes.ingest import Ingest, ingesting

from headwater.core.errors import HeadwaterError

BODIES = {
    "good": b'{"id":"a"}',
    "other": b'{"id":"b"}\n{"id":"c"}',
    "partly bad": b'{"id":"a"}\n{"qty":-1}',
    "all bad": b'{"qty":-1}',
}
ROWS = {"good": 1, "other": 2, "partly bad": 1, "all bad": 0}
KEYS = st.sampled_from(["k1", "k2", "k3"])


class KeyedRequests(RuleBasedStateMachine):
    """Sends keyed requests to a real service, restarts it, and makes its journal fail."""

    def __init__(self) -> None:
        super().__init__()
        self._home = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._answers: dict[str, tuple[str, int, bytes]] = {}
        self._start()

    def _start(self) -> None:
        self._context = ingesting(Path(self._home.name), make_dataset(make_contract()))
        self._ingest: Ingest = self._runner.run(self._context.__aenter__())

    def _stop(self) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))

    def _send(self, *requests: tuple[str, str]) -> list[httpx.Response]:
        async def together() -> list[httpx.Response]:
            sent = [self._ingest.send(BODIES[body], headers={"idempotency-key": key}) for key, body in requests]
            return list(await asyncio.gather(*sent))

        return self._runner.run(together())

    def _check(self, key: str, body: str, reply: httpx.Response) -> None:
        known = self._answers.get(key)
        if known is None:
            assert reply.status_code in (200, 207, 422)
            assert "idempotency-replayed" not in reply.headers
            self._answers[key] = (body, reply.status_code, reply.content)
        elif known[0] == body:
            assert (reply.status_code, reply.content) == known[1:]
            assert reply.headers["idempotency-replayed"] == "true"
        else:
            assert reply.json()["code"] == "idempotency_key_reused"

    @rule(key=KEYS, body=st.sampled_from(sorted(BODIES)))
    def send(self, key: str, body: str) -> None:
        (reply,) = self._send((key, body))
        self._check(key, body, reply)

    @rule(key=KEYS, body=st.sampled_from(sorted(BODIES)), copies=st.integers(2, 4))
    def send_at_once(self, key: str, body: str, copies: int) -> None:
        replies = self._send(*[(key, body)] * copies)
        answered = [reply for reply in replies if reply.status_code != 409]
        assert answered
        for reply in sorted(answered, key=lambda reply: "idempotency-replayed" in reply.headers):
            self._check(key, body, reply)

    @rule(key=KEYS, body=st.sampled_from(sorted(BODIES)))
    def send_while_the_journal_fails(self, key: str, body: str) -> None:
        journal: Any = self._ingest.runtime.journal
        write = journal.write

        def fail(_change: object) -> None:
            raise HeadwaterError("journal_unavailable")

        journal.write = fail
        (reply,) = self._send((key, body))
        journal.write = write
        if key in self._answers:
            self._check(key, body, reply)
        else:
            assert reply.status_code == 503

    @rule()
    def restart(self) -> None:
        self._stop()
        self._start()

    @invariant()
    def rows_are_there_once(self) -> None:
        expected = sum(ROWS[body] for body, _, _ in self._answers.values())
        assert len(self._ingest.stored()) == expected

    def teardown(self) -> None:
        self._stop()
        self._runner.close()
        self._home.cleanup()


TestKeyedRequests = KeyedRequests.TestCase
TestKeyedRequests.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
