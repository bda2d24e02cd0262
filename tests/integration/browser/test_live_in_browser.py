"""A page of somebody's own watches a live result with a ticket, by the script that the documentation shows."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from tests.builders.browser import chromium, needs_chromium
from tests.builders.processes import ServicesProcess, free_port, serving
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.docs.pages import ROOT
from tests.fakes.control import FakeControl
from tests.fakes.query_process import FLIGHTS, dataset, endpoint, flights
from tests.fakes.watching import COUNTS

from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.settings import Settings
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.services.kit.snapshot_store import SnapshotStore

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120), needs_chromium]
PAGE = """<!doctype html><title>Live</title><pre id="rows"></pre><script>
{script}
watch((rows) => {{
  document.getElementById("rows").textContent = rows.map((row) => `${{row.carrier}} ${{row.flights}}`).join("; ");
}});
</script>"""


def documented_script(services: str) -> str:
    """Return the script of the guide, for services at this address."""
    text = (ROOT / "docs/howto/show-live-results.md").read_text(encoding="utf-8")
    found = re.search(r"^```\n(async function watch.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    assert "https://api.example.com" in found[1]
    return found[1].replace("https://api.example.com", services)


def own_page(services: ServicesProcess, address: str, asked: list[str]) -> Starlette:
    """Return somebody's backend: a page, and the tickets that it asks for with a key of its own."""

    def page(_request: Request) -> HTMLResponse:
        return HTMLResponse(PAGE.format(script=documented_script(address)))

    def ticket(_request: Request) -> JSONResponse:
        headers = {"Authorization": f"Bearer {KEY}"}
        reply = services.http.post("/v1/endpoints/counts/live/tickets", json={}, headers=headers)
        asked.append(reply.json()["ticket"])
        return JSONResponse(reply.json())

    return Starlette(routes=[Route("/", page), Route("/my-backend/ticket", ticket)])


def test_a_page_watches_with_a_ticket_from_another_origin_and_over_a_restart(tmp_path: Path) -> None:
    control, home, port = FakeControl(), Home(tmp_path), free_port()
    control.establish_trust(home)
    snapshot = make_snapshot(
        keys={KEY: make_key("endpoint.invoke:*")},
        datasets={"flights": dataset(FLIGHTS)},
        endpoints={"counts": endpoint("counts", COUNTS)},
    )
    SnapshotStore(home.snapshots).save(SignedSnapshot.sign(snapshot, control.key), snapshot)
    lake = open_lake(Settings(home=tmp_path))
    lake.append("env_1/flights", flights(0, 3), AppTransaction("test", 1))
    options: dict[str, Any] = {"only": ["query"], "port": port, "control__url": "http://127.0.0.1:1"}
    asked: list[str] = []
    with ServicesProcess(tmp_path, **options) as services:
        services.wait_ready()
        with (
            serving(own_page(services, f"http://127.0.0.1:{port}", asked), free_port()) as url,
            chromium() as browser,
        ):
            page = browser.new_page()
            page.goto(url)
            shown = page.locator("#rows")
            expect(shown).to_have_text("AA 1; BB 1; CC 1", timeout=20_000)
            lake.append("env_1/flights", flights(3, 1), AppTransaction("test", 2))
            expect(shown).to_have_text("AA 2; BB 1; CC 1", timeout=20_000)
            assert services.stop()[0] == 0
            lake.append("env_1/flights", flights(4, 2), AppTransaction("test", 3))
            with ServicesProcess(tmp_path, **options) as again:
                again.wait_ready()
                expect(shown).to_have_text("AA 2; BB 2; CC 2", timeout=30_000)
                time.sleep(0.2)
                lake.append("env_1/flights", flights(6, 1), AppTransaction("test", 4))
                expect(shown).to_have_text("AA 3; BB 2; CC 2", timeout=20_000)
                assert len(asked) == 1
                page.close()
                assert again.stop()[0] == 0
