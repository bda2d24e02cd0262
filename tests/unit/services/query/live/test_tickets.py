"""Tickets: what browsers watch with, in place of a key."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.builders.snapshots import KEY, make_key
from tests.fakes.process import until
from tests.fakes.query_process import ENVIRONMENT, Asked, asking, endpoint, flights
from tests.fakes.watching import COUNTS, OTHER, hub_of, keyed, own_carrier, publish, watching

from headwater.core.clock import FrozenClock
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.services.query.live import tickets as module
from headwater.services.query.live.tickets import CONNECT_SECONDS, MAX_TICKET, Tickets

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def make_tickets(folder: Path, token: bytes = b"token") -> tuple[Tickets, FrozenClock]:
    home, clock = Home(folder), FrozenClock(NOW)
    home.prepare()
    home.write_secret(home.node_token, token)
    return Tickets(home, clock), clock


def test_a_ticket_says_what_was_written_to_every_node_and_nothing_to_others(tmp_path: Path) -> None:
    tickets, clock = make_tickets(tmp_path / "one")
    text, until_when = tickets.write("env_1", "counts", {"carrier": "AA", "above": 1.5}, key_id="key_1")
    assert until_when == NOW + timedelta(seconds=CONNECT_SECONDS)
    other, _ = make_tickets(tmp_path / "two")
    for one in (tickets, other):
        ticket = one.read(text)
        assert (ticket.environment_id, ticket.endpoint, ticket.key_id) == ("env_1", "counts", "key_1")
        assert ticket.parameters == {"carrier": "AA", "above": 1.5}
    stranger, _ = make_tickets(tmp_path / "three", b"another")
    with pytest.raises(HeadwaterError) as refused:
        stranger.read(text)
    assert refused.value.code == "unauthenticated"
    assert b"counts" not in base64.urlsafe_b64decode(text + "==")
    clock.advance(timedelta(seconds=CONNECT_SECONDS))
    with pytest.raises(HeadwaterError, match="expired"):
        tickets.read(text)


def test_no_text_but_a_ticket_is_one(tmp_path: Path) -> None:
    tickets, _ = make_tickets(tmp_path)
    text, _ = tickets.write("env_1", "counts", {}, key_id="key_1")
    changed = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]
    for bad in ("", "x", "é", "=" * 8, changed, text[:-4], text + "AAAA", "A" * (2 * MAX_TICKET)):
        with pytest.raises(HeadwaterError) as refused:
            tickets.read(bad)
        assert refused.value.code == "unauthenticated"


def test_no_two_tickets_are_alike_and_none_is_too_long_for_an_address(tmp_path: Path) -> None:
    tickets, _ = make_tickets(tmp_path)
    assert tickets.write("env_1", "x", {}, key_id="k") != tickets.write("env_1", "x", {}, key_id="k")
    with pytest.raises(HeadwaterError) as refused:
        tickets.write("env_1", "x", {"a": "x" * MAX_TICKET}, key_id="k")
    assert refused.value.code == "payload_too_large"


def test_without_a_node_token_there_are_no_tickets(tmp_path: Path) -> None:
    tickets = Tickets(Home(tmp_path), FrozenClock(NOW))
    with pytest.raises(HeadwaterError) as refused:
        tickets.write("env_1", "x", {}, key_id="k")
    assert refused.value.code == "config_unavailable"


async def ask(asked: Asked, name: str = "counts", key: str = KEY, **parameters: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return await asked.http.post(f"/v1/endpoints/{name}/live/tickets", json=parameters, headers=headers)


async def ask_as_reader(asked: Asked, viewer: Any, token: str | None = None, **parameters: str) -> httpx.Response:
    node = token or asked.runtime.home.node_token.read_text().strip()
    return await asked.http.post(
        f"/internal/v1/viewing/{ENVIRONMENT}/endpoints/counts/live/tickets",
        json={"viewer": viewer.model_dump(mode="json"), "parameters": parameters},
        headers={"Authorization": f"Bearer {node}"},
    )


async def test_a_browser_watches_with_a_ticket_what_its_key_asked_for(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        asked.seal("flights", flights(0, 30))
        reply = await ask(asked, carrier="AA")
        assert reply.status_code == 201
        assert reply.headers["cache-control"] == "no-store"
        body = reply.json()
        path = urlsplit(body["path"])
        assert (path.path, parse_qs(path.query)) == ("/v1/endpoints/counts/live", {"ticket": [body["ticket"]]})
        page = {"origin": "http://console.example"}
        async with watching(asked.door, "counts", key=None, headers=page, ticket=body["ticket"]) as watcher:
            assert (await watcher.next()).data["data"] == [{"carrier": "AA", "flights": 10}]
            assert watcher.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in watcher.headers
            assert set(hub_of(asked)._owners) == {"key_1"}
            last_id = watcher.events[-1].id
        async with watching(asked.door, "counts", key=None, ticket=body["ticket"], last_event_id=last_id) as watcher:
            await watcher.nothing()


async def test_a_ticket_is_for_one_endpoint_and_its_parameters(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS), endpoint("other", COUNTS)) as asked:
        ticket = (await ask(asked, carrier="AA")).json()["ticket"]
        cases: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
            ("other", {}, (401, "unauthenticated")),
            ("counts", {"carrier": "BB"}, (422, "parameter_invalid")),
        ]
        for name, more, refused in cases:
            async with watching(asked.door, name, key=None, ticket=ticket, **more) as watcher:
                await until(lambda: watcher.is_complete)
                assert (watcher.status, watcher.problem["code"]) == refused
                assert ticket not in str(watcher.problem)


async def test_who_may_not_watch_gets_no_ticket(tmp_path: Path) -> None:
    keys = {KEY: keyed("key_1"), OTHER: make_key("endpoint.invoke:other", key_id="key_2")}
    async with asking(tmp_path, endpoint("counts", COUNTS), keys=keys) as asked:
        assert (await ask(asked, key=OTHER)).json()["code"] == "endpoint_not_found"
        assert (await ask(asked, key="hw_none")).status_code == 401
        assert (await ask(asked, above=1)).json()["code"] == "parameter_invalid"
        assert (await ask_as_reader(asked, keyed("usr_1"), token="guessed")).status_code == 401
        nobody = make_key("dataset.read:*", key_id="usr_1")
        assert (await ask_as_reader(asked, nobody)).json()["code"] == "endpoint_not_found"


async def test_a_ticket_dies_with_the_key_that_asked_for_it(tmp_path: Path) -> None:
    keys = {KEY: keyed("key_1"), OTHER: keyed("key_2")}
    async with asking(tmp_path, endpoint("counts", COUNTS), keys=keys) as asked:
        ticket = (await ask(asked)).json()["ticket"]
        async with watching(asked.door, "counts", key=None, ticket=ticket) as watcher:
            await watcher.next()
            await publish(asked, keys={OTHER: keyed("key_2")})
            assert (await watcher.next()).kind == "reauth"
        async with watching(asked.door, "counts", key=None, ticket=ticket) as watcher:
            await until(lambda: watcher.is_complete)
            assert (watcher.status, watcher.problem["code"]) == (401, "unauthenticated")


async def test_a_reader_of_the_console_watches_under_policies_of_their_own(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        await publish(asked, policies={"own": own_carrier("own")})
        asked.seal("flights", flights(0, 30))
        reader = keyed("usr_1", attributes={"carrier": "BB"}, cidrs=("10.0.0.0/8",))
        reply = await ask_as_reader(asked, reader)
        assert reply.status_code == 200
        ticket = reply.json()["ticket"]
        async with watching(asked.door, "counts", key=None, ticket=ticket) as watcher:
            assert (await watcher.next()).data["data"] == [{"carrier": "BB", "flights": 10}]
            assert set(hub_of(asked)._owners) == {"usr_1"}
            await publish(asked, endpoints={})
            assert (await watcher.next()).kind == "gone"


async def test_a_stream_lasts_as_long_as_its_ticket_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READER_STREAM_SECONDS", 1)
    async with asking(tmp_path, endpoint("counts", COUNTS)) as asked:
        ticket = (await ask_as_reader(asked, keyed("usr_1"))).json()["ticket"]
        async with watching(asked.door, "counts", key=None, ticket=ticket) as watcher:
            await watcher.next()
            told = await watcher.next()
            assert (told.kind, told.data["code"]) == ("reauth", "unauthenticated")


async def test_a_parameter_called_ticket_is_one_where_there_is_a_key(tmp_path: Path) -> None:
    header = "/*\nparameters: {ticket: {type: string}, last_event_id: {type: string}}\n*/"
    text = f"{header} SELECT $ticket AS x, $last_event_id AS y"
    async with asking(tmp_path, endpoint("support", text)) as asked:
        async with watching(asked.door, "support", ticket="T-1", last_event_id="2") as watcher:
            assert (await watcher.next()).data["data"] == [{"x": "T-1", "y": "2"}]
        ticket = (await ask(asked, "support", ticket="T-2")).json()["ticket"]
        async with watching(asked.door, "support", key=None, ticket=ticket) as watcher:
            assert (await watcher.next()).data["data"] == [{"x": "T-2", "y": None}]
