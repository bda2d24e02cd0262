"""A project's own routes: authenticated, documented, and no trouble to the rest when they are broken."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import httpx
import pytest
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_lake import MemoryLake
from tests.fakes.process import alive

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import TargetSettings
from headwater.core.settings import Settings
from headwater.services.custom import create, need
from headwater.services.custom.gate import MAX_BODY_BYTES
from headwater.services.custom.loading import load_route_files
from headwater.services.kit.application import compose
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import Environment

ROUTES = """
    from fastapi import APIRouter
    from pydantic import BaseModel
    from headwater.services.custom import CurrentCaller, Platform, need
    from ._words import GREETING

    router = APIRouter()
    public_router = APIRouter()

    class Order(BaseModel):
        n: int

    @router.get("/hello", summary="Say hello")
    async def hello(caller: CurrentCaller) -> dict[str, str]:
        return {"says": GREETING, "to": caller.key.principal_label}

    @router.post("/orders")
    def order(body: Order) -> dict[str, int]:
        return {"twice": body.n * 2}

    @router.get("/boom")
    async def boom() -> None:
        raise ZeroDivisionError("a secret")

    @router.get("/sql", dependencies=[need("sql.run", "*")])
    async def sql() -> str:
        return "ran"

    @router.get("/datasets")
    async def datasets(platform: Platform) -> object:
        return await platform.query("nothing")

    @public_router.get("/ping")
    async def ping() -> str:
        return "pong"
"""


def write(project: Path, **files: str) -> Path:
    folder = project / "services"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text))
    return project


@contextlib.asynccontextmanager
async def serving(project: Path, *allowances: str, organization: str = "acme") -> AsyncIterator[httpx.AsyncClient]:
    """Run the routes of a project; requests carry the key with these allowances."""
    snapshot = make_snapshot(keys={KEY: make_key(*(allowances or ("route.invoke:*",)))})
    settings = Settings(
        home=project / "home", project=project, target=TargetSettings(organization=organization, project="shop")
    )
    control = FakeControl()
    control.is_down = True
    runtime = ProcessRuntime(settings, journal=MemoryJournal(), lake=MemoryLake())
    control.establish_trust(runtime.home)
    door = compose(runtime, [create(runtime)], transport=control.transport())
    async with alive(door):
        transport = httpx.ASGITransport(door, raise_app_exceptions=True)
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://services", headers=headers) as http:
            runtime.swap(Environment(snapshot, {"custom": None}))
            yield http


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write(tmp_path, delays=ROUTES, _words="GREETING = 'hello'")


async def test_a_route_answers_below_its_files_name_and_knows_its_caller(project: Path) -> None:
    async with serving(project) as http:
        reply = await http.get("/x/delays/hello")
    assert (reply.status_code, reply.json()) == (200, {"says": "hello", "to": "a test"})
    assert reply.headers["hw-request-id"]
    assert reply.headers["hw-config-version"] == "1"


async def test_a_route_without_a_key_is_refused_and_a_public_one_is_not(project: Path) -> None:
    async with serving(project) as http:
        http.headers.pop("authorization")
        refused = await http.get("/x/delays/hello")
        public = await http.get("/x/delays/ping")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert (public.status_code, public.json()) == (200, "pong")


@pytest.mark.parametrize(("allowance", "status"), [("route.invoke:delays", 200), ("route.invoke:others", 403)])
async def test_calling_a_route_is_a_permission_of_its_own(project: Path, allowance: str, status: int) -> None:
    async with serving(project, allowance) as http:
        assert (await http.get("/x/delays/hello")).status_code == status


async def test_a_route_may_need_more(project: Path) -> None:
    async with serving(project, "route.invoke:delays") as http:
        reply = await http.get("/x/delays/sql")
    assert reply.status_code == 403
    assert "sql.run" in reply.json()["detail"]
    async with serving(project, "route.invoke:delays", "sql.run:*") as http:
        assert (await http.get("/x/delays/sql")).json() == "ran"


async def test_another_organisations_key_finds_nothing(project: Path) -> None:
    async with serving(project, organization="other") as http:
        reply = await http.get("/x/delays/hello")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"n": 2}', 200, None),
        ('{"n": "two"}', 400, "malformed_body"),
        ('{"n":', 400, "malformed_body"),
        (" " * (MAX_BODY_BYTES + 1), 413, "payload_too_large"),
    ],
)
async def test_bad_bodies_are_problems(project: Path, body: str, status: int, code: str | None) -> None:
    async with serving(project) as http:
        reply = await http.post("/x/delays/orders", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json().get("code")) == (status, code)


async def test_an_error_in_a_route_tells_the_caller_nothing(project: Path) -> None:
    async with serving(project) as http:
        http._transport.raise_app_exceptions = False  # type: ignore[attr-defined]
        reply = await http.get("/x/delays/boom")
    assert (reply.status_code, reply.json()["code"]) == (500, "internal")
    assert "secret" not in reply.text


async def test_the_platform_acts_with_the_callers_own_key(project: Path) -> None:
    async with serving(project) as http:
        reply = await http.get("/x/delays/datasets")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


async def test_routes_are_in_the_api_document(project: Path) -> None:
    async with serving(project) as http:
        document = (await http.get("/openapi.json")).json()
    operation = document["paths"]["/x/delays/hello"]["get"]
    assert (operation["summary"], operation["tags"]) == ("Say hello", ["This project: delays"])
    body = document["paths"]["/x/delays/orders"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert document["components"]["schemas"][body["$ref"].rpartition("/")[2]]["properties"].keys() == {"n"}


async def test_the_document_shows_no_route_that_the_caller_may_not_call(project: Path) -> None:
    async with serving(project, "route.invoke:others") as http:
        document = (await http.get("/openapi.json")).json()
    assert not any(path.startswith("/x/") for path in document["paths"])


async def test_nothing_of_a_body_is_read_before_the_caller_is_known(project: Path) -> None:
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"{}"

    async with serving(project, "route.invoke:others") as http:
        reply = await http.post("/x/delays/orders", content=body())
    assert not read
    assert reply.status_code == 403


async def test_metrics_name_the_route_and_never_the_path(project: Path) -> None:
    async with serving(project) as http:
        await http.get("/x/delays/hello")
        await http.get("/x/delays/nowhere/1234")
        text = (await http.get("/metrics")).text
    assert 'route="/x/delays/hello"' in text
    assert "1234" not in text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("import fastapi\nrouter = nothing", "services/bad.py, line 2: NameError: name 'nothing' is not defined"),
        ("def (", "services/bad.py, line 1: SyntaxError"),
        ("raise SystemExit(1)", "services/bad.py, line 1: SystemExit: 1"),
        ("import nowhere", "services/bad.py, line 1: ModuleNotFoundError: No module named 'nowhere'"),
        ("x = 1", "services/bad.py: it has neither a router nor a public_router"),
        ("router = 3", "services/bad.py: router is no fastapi.APIRouter"),
    ],
)
async def test_a_broken_file_is_named_and_takes_no_other_with_it(project: Path, text: str, fault: str) -> None:
    write(project, bad=text)
    async with serving(project) as http:
        broken = await http.post("/x/bad/anything")
        whole = await http.get("/x/delays/hello")
        ready = (await http.get("/readyz")).json()
    assert (broken.status_code, broken.json()["code"]) == (503, "routes_unavailable")
    assert whole.status_code == 200
    assert fault in str(ready)


def test_a_file_whose_name_cannot_stand_in_a_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "My Routes.py").write_text("")
    (file,) = load_route_files(tmp_path)
    assert "lower-case" in file.fault


@pytest.mark.parametrize("project", [None, Path("/nowhere")])
def test_a_project_without_routes_has_none(project: Path | None) -> None:
    assert load_route_files(project) == []


def test_a_permission_that_does_not_exist_is_named_at_once() -> None:
    with pytest.raises(HeadwaterError, match="is not a permission"):
        need("dataset.fly", "*")
