"""A project that was just made runs, with its own routes, its own Django app and its own page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.builders.system import System, wait_for

from headwater.cli.scaffold import Shape, write_project

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    place = tmp_path_factory.mktemp("new")
    write_project(place / "shop", Shape.HYBRID)
    system = System(place / "home", place / "shop", place / "up.log")
    system.start()
    loaded = system.run("ingest", "orders", str(place / "shop" / "orders.ndjson"), "--json", check=False)
    assert json.loads(loaded.stdout)["counts"]["accepted"] == 4
    try:
        yield system
    finally:
        system.stop()


def api(system: System, url: str) -> httpx.Client:
    return httpx.Client(base_url=system.state[url], headers={"Authorization": f"Bearer {system.key}"}, timeout=20)


def test_the_route_of_its_own_answers_from_the_tables(shop: System) -> None:
    with api(shop, "services_url") as http:
        wait_for(lambda: http.get("/x/orders/share/CH").status_code == 200, 20, "the rows in the table")
        assert http.get("/x/orders/share/CH").json() == {"country": "CH", "revenue": 203.9, "share": 0.4225}
        unknown = http.get("/x/orders/share/XX")
        assert (unknown.status_code, unknown.json()["detail"]) == (404, "nothing was sold in XX")
        assert "/x/orders/share/{country}" in http.get("/openapi.json").json()["paths"]
        http.headers.pop("Authorization")
        assert http.get("/x/orders/share/CH").status_code == 401


def test_the_app_of_its_own_has_a_table_an_api_and_leaves_a_trace(shop: System) -> None:
    with api(shop, "control_url") as http:
        made = http.post("/api/v1/x/desk/shop/shop/notes", json={"order": "A-1001", "text": "<b>late</b>"})
        assert (made.status_code, made.json()["text"]) == (201, "<b>late</b>")
        assert [note["order"] for note in http.get("/api/v1/x/desk/shop/shop/notes").json()] == ["A-1001"]
        assert http.get("/api/v1/x/desk/other/shop/notes").status_code == 404
        http.headers.pop("Authorization")
        assert http.get("/api/v1/x/desk/shop/shop/notes").status_code == 401
    actions = [json.loads(line)["action"] for line in shop.run("audit", "export").stdout.splitlines()]
    assert "desk.note.left" in actions


def test_its_page_is_in_the_console(shop: System) -> None:
    password = re.findall(r"password +(\S+)", shop.log.read_text())[-1]
    with httpx.Client(base_url=shop.state["control_url"], timeout=20, follow_redirects=True) as http:
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', http.get("/accounts/login/").text)[0]
        form = {"csrfmiddlewaretoken": token, "login": "admin@shop.localhost", "password": password}
        http.post("/accounts/login/", data=form, headers={"Referer": f"{http.base_url}/accounts/login/"})
        page = http.get("/o/shop/shop/development/desk/")
    assert page.status_code == 200
    assert "What people had to say about orders." in page.text


def test_djangos_commands_know_the_app(shop: System) -> None:
    checked = shop.run("manage", "makemigrations", "desk", "--check", "--dry-run")
    assert "No changes detected" in checked.stdout


def test_a_broken_app_stops_control_with_its_name_and_nothing_else(shop: System, tmp_path: Path) -> None:
    project = tmp_path / "broken"
    write_project(project, Shape.PLATFORM)
    (project / "control" / "desk" / "models.py").write_text("import nowhere\n")
    system = System(tmp_path / "home", project, tmp_path / "log")
    outcome = system.run("manage", "check", check=False)
    assert outcome.returncode == 1
    assert "control/desk/models.py, line 1: ModuleNotFoundError" in outcome.stderr
