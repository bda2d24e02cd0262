"""Features through both clients."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from headwater.client import AsyncClient, Client, ClientError

ANSWERS: dict[tuple[str, str], Any] = {
    ("GET", "/v1/features"): [{"name": "recent"}],
    ("GET", "/v1/features/recent"): {"name": "recent"},
    ("POST", "/v1/features/recent/read"): {"view": "recent", "results": [{"values": {"x": 1}}]},
    ("POST", "/v1/features/recent/history"): {"meta": {"rows": 1}, "data": [{"id": 1, "x": 2.0}]},
}


class Server:
    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        return httpx.Response(200, json=ANSWERS[request.method, request.url.path])


def test_both_clients_read_features_and_training_frames(tmp_path: Path) -> None:
    labels = [{"id": 1, "origin": "JFK", "when": "2013-01-01T00:00:00Z"}]
    file = tmp_path / "labels.csv"
    file.write_text("id,origin,when\n1,JFK,2013-01-01T00:00:00Z\n")
    server = Server()
    with Client("http://test", "hw_key", transport=httpx.MockTransport(server)) as client:
        found: list[Any] = [
            client.feature_views(),
            client.feature_view("recent"),
            client.read_features("recent", [{"origin": "JFK"}]),
            client.feature_history("recent", labels, time="when"),
            client.feature_history_bytes("recent", file, time="when", form="arrow"),
        ]
    seen, server.seen = server.seen, []

    async def ask() -> list[Any]:
        async with AsyncClient("http://test", "hw_key", transport=httpx.MockTransport(server)) as client:
            return [
                await client.feature_views(),
                await client.feature_view("recent"),
                await client.read_features("recent", [{"origin": "JFK"}]),
                await client.feature_history("recent", labels, time="when"),
                await client.feature_history_bytes("recent", file, time="when", form="arrow"),
            ]

    assert asyncio.run(ask()) == found
    assert found[:4] == [[{"name": "recent"}], {"name": "recent"}, [{"values": {"x": 1}}], [{"id": 1, "x": 2.0}]]
    assert [(r.method, str(r.url), r.content) for r in seen] == [(r.method, str(r.url), r.content) for r in server.seen]
    assert json.loads(seen[2].content) == {"entities": [{"origin": "JFK"}]}
    assert json.loads(seen[3].content) == {"labels": labels}
    assert dict(seen[3].url.params) == {"format": "json", "time": "when"}
    assert seen[4].content == file.read_bytes()
    assert seen[4].headers["content-type"] == "text/csv"


def test_a_file_whose_name_says_no_format_is_refused(tmp_path: Path) -> None:
    client = Client("http://test", "hw_key", transport=httpx.MockTransport(Server()))
    with client, pytest.raises(ClientError, match="not clear from its name"):
        client.feature_history_bytes("recent", tmp_path / "labels.xls")
