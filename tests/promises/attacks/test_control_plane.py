"""Whatever is asked of the control plane, and however it is put, it answers with a cause and never with our failure.

Routes are read off the URL conf and members off the API's own document, so that what is added is walked too. Which of
the hostile values meets which route is a matter of counting: every value is tried in many places, the same each time.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import pytest
from django.db import transaction
from django.test import Client
from tests.builders.addresses import MACHINES, PART, routes, rows_of
from tests.builders.console import stock
from tests.builders.control import (
    control_home,
    django_db_modify_db_settings,
    environment,
    make_environment,
    make_member,
    make_owner,
    owner,
)
from tests.fakes.data_plane import FakeServices, services
from tests.fakes.hostile_schema import VALUES, Schema, members, sample, with_value

from headwater.control.api.urls import api as control_api
from headwater.control.console.pages import PAGES
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.actions import rename_organization
from headwater.control.orgs.models import Environment, Organization
from headwater.core.errors import MEDIA_TYPE

__all__ = ["control_home", "django_db_modify_db_settings", "environment", "owner", "services"]

pytestmark = pytest.mark.timeout(300)

JSON: Final = "application/json"
#: What only people of another organisation may ever read.
SECRET: Final = "Zanzibar Works"
INSIDES: Final = re.compile(
    rb"Traceback|site-packages|File \"|sqlite3|psycopg|OperationalError|IntegrityError|SECRET_KEY|root:x:|HEADWATER_"
)
PARTS: Final = [
    "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e", "..%5c..", "%00", "a%00b", "%ff%fe", "%ed%a0%80", "x" * 8_000,
    "%0d%0aHw-Evil: 1", "a%0a", "%0a", "flights%2frows", "'", "%22%3E%3Cscript%3Ealert(1)%3C/script%3E", "*", "%25",
    "ACME", "flights%20", "flights.csv", "9" * 30, "9" * 400, "-1", "0", "1e9", "%F0%9F%92%A9", "%E2%80%AE", ".", "-",
    ";a=b", "%D9%A1", "%EF%BC%91", "{{7*7}}", "org_x", "org_" + "0" * 26, "org_" + "z" * 26, "null",
]  # fmt: skip
BODIES: Final[list[bytes]] = [
    b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b"", b" ", b"null", b"[]", b"1", b'"text"', b"{", b"{}",
    b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x00", b'{"name": NaN}', b'{"revision": Infinity}', b'{"revision": 1e400}',
    b'{"name": ' + b"9" * 10_000 + b"}", b"-", b"1e999", b'{"name": "\\ud800"}', b'{"\\ud800": 1}', b"[{}]",
    b'{"name": "\\u0000"}', b'{"name": "a", "name": "b"}', b'{"__proto__": {}, "constructor": 1}',
    json.dumps({f"k{at}": at for at in range(100_000)}).encode(), b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}",
    b"PK\x03\x04" + b"\x00" * 100, b"\x1f\x8b\x08\x00", b"a=1&b=2", b"--x\r\n\r\n", b"{'name': 'x'}", b'{"a": 1}\n{}',
]  # fmt: skip
MEDIA: Final = (
    "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x", "",
    "multipart/form-data; boundary=" + "x" * 5_000, "application/json; charset=utf-16", "application/xml", "\xff/\x00",
    "application/json; charset=no-such", "application/x-www-form-urlencoded; charset=rot13", "application/octet-stream",
)  # fmt: skip
HEADERS: Final[list[dict[str, str]]] = [
    {"Host": "evil.example"}, {"Host": "\xff"}, {"Host": "acme..x:99999999"}, {"Host": ""}, {"Host": "[::1"},
    {"X-Forwarded-Host": "evil.example"}, {"X-Forwarded-Proto": "javascript"}, {"X-Forwarded-Port": "evil"},
    {"X-Forwarded-For": "'; DROP TABLE, 999.999.1.1"}, {"X-Forwarded-For": "1," * 5_000}, {"Forwarded": "for=\xff"},
    {"Authorization": "Bearer " + "a" * 60_000}, {"Authorization": "Bearer hw_\xff\xfe"}, {"Authorization": "Bearer"},
    {"Authorization": "Basic !!!"}, {"Authorization": "Bearer hw_' OR 1=1 --"}, {"Authorization": "Bearer hw_a\x00b"},
    {"Cookie": "sessionid=" + "b" * 65_536}, {"Cookie": ";=;;\x00=\xff"}, {"Cookie": "messages=evil;" + "b;" * 9_000},
    {"If-Match": '"' + "9" * 5_000 + '"'}, {"If-Match": 'W/"x'}, {"If-Match": "*,*"}, {"If-Match": '"-1"'},
    {"If-Match": "\u0661"}, {"If-Match": '"1e9"'}, {"If-Match": ""}, {"If-None-Match": "\x00" * 90},
    {"If-Modified-Since": "Thu, 99 Foo 99999 99:99:99 GMT"}, {"Accept": "a/" * 9_000}, {"Accept": "*/*;q=\xff"},
    {"Accept-Language": "x" * 9_000}, {"Accept-Language": "../../etc"}, {"Content-Encoding": "gzip"},
    {"Content-Length": "-1"}, {"Content-Length": "abc"}, {"Range": "bytes=0-,9-1"},
    {"Hw-Request-Id": "a\r\nSet-Cookie: evil=x"}, {"Hw-Request-Id": "<script>" * 90}, {"Hw-Organization": "globex"},
    {"HX-Request": "\x00"}, {"HX-Current-URL": "javascript:alert(1)"}, {"HX-Target": "<evil>"}, {"Referer": "\xff"},
    {"User-Agent": "\x00" * 5_000}, {"X-CSRFToken": "\xff" * 99}, {"X-HTTP-Method-Override": "DELETE"},
    {"Last-Event-ID": "\xff" * 99}, {"Origin": "null"}, {"Expect": "200-ok"}, {"X-Original-URL": "/admin/"},
]  # fmt: skip


class Route(NamedTuple):
    """One address of the URL conf, the values that name something real, and how it is asked."""

    template: str
    values: tuple[str, ...]
    methods: tuple[str, ...]

    def path(self, at: int = -1, value: str = "") -> str:
        values = iter([*self.values[:at], value, *self.values[at + 1 :]] if at >= 0 else self.values)
        return "/" + PART.sub(lambda _: next(values), self.template)

    @property
    def schema_key(self) -> str:
        return "/" + PART.sub(r"{\2}", self.template)


class Browser:
    """Asks as an owner of "acme", and takes back what each question did."""

    def __init__(self, owner: Actor) -> None:
        self.client = Client(raise_request_exception=False)
        self.client.force_login(owner.subject)
        self._cookies = dict(self.client.cookies)

    def ask(
        self, method: str, path: str, body: bytes = b"{}", media: str = JSON, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Return the answer's bytes, asserted to be well refused or well answered."""
        before = transaction.savepoint()
        try:
            reply = self.client.generic(method, path, body, content_type=media, headers=headers or {})
            said = b"" if reply.streaming else reply.content
            self.status = reply.status_code
            well(reply, said, path, f"{method} {path[:300]} {body[:80]!r} {media[:80]!r} {str(headers)[:80]}")
            for close in vars(reply).get(
                "_resource_closers", ()
            ):  # reply.close() would end the connection to the database as well
                close()
        finally:
            transaction.set_rollback(False)
            transaction.savepoint_rollback(before)
            self.client.cookies.clear()
            self.client.cookies.update(self._cookies)
        return said


def well(reply: Any, said: bytes, path: str, asked: str) -> None:
    """Assert that we did not fail, told nothing of our insides nor of others, and named a cause."""
    assert reply.status_code < 500 or reply.status_code == 503, f"{asked}: {reply.status_code} {said[:500]!r}"
    assert SECRET.encode() not in said, asked
    told = " ".join(f"{name}: {value}" for name, value in reply.headers.items()) + reply.cookies.output()
    assert "\n" not in told.replace("\r\nSet-Cookie", ""), asked
    assert "evil" not in told.casefold(), f"{asked}: {told}"
    if reply.status_code < 400:
        return
    assert not INSIDES.search(said), f"{asked}: {said[:500]!r}"
    if path.startswith("/api/"):
        assert reply.headers["Content-Type"] == MEDIA_TYPE, f"{asked}: {reply.headers} {said[:200]!r}"
        problem = json.loads(said)
        assert problem["code"] != "internal", asked
        assert problem["detail"], f"{asked}: {problem}"
        assert problem["status"] == reply.status_code, asked
        assert len(said) < 100_000, f"{asked}: {len(said)}"


@pytest.fixture
def browser(environment: Environment, owner: Actor, services: FakeServices) -> Browser:
    services.fill()
    return Browser(owner)


@pytest.fixture
def walk(environment: Environment, owner: Actor) -> list[Route]:
    """Every route of the API and the console, in an organisation that has one of everything."""
    arguments = {name: tuple(map(str, said)) for name, said in stock(environment, owner).items()}
    ids = {row.public_id.partition("_")[0]: row.public_id for row in rows_of(environment)}
    names = {
        "org": environment.org.slug, "project": environment.project.slug, "environment": environment.key,
        "dataset": "flights", "endpoint": "worst", "model": "delay", "flag": "new-home", "view": "recent",
        "dashboard": "delays", "role": "watcher", "policy": "open_to_all", "alias": "champion", "sha256": "0" * 64,
        "member": ids["mem"], "group": ids["gro"], "given": ids["grt"], "key": ids["key"], "place": ids["gm"],
        "invitation": ids["inv"],
    }  # fmt: skip
    documented = control_api.get_openapi_schema()["paths"]
    found = []
    for template, pattern in routes():
        if MACHINES.match(template) or template.startswith("admin/") or "(?P" in template or "logout" in template:
            continue
        if template.startswith("accounts/") or not template.startswith(("o/", "api/")):
            names_of_page: tuple[str, ...] = ()
        else:
            names_of_page = arguments.get(str(pattern.name), ())
        rest = iter(names_of_page)
        values = tuple(
            names[name] if name in ("org", "project", "environment") else next(rest, names.get(name, "1"))
            for _, name in PART.findall(template)
        )
        route = Route(template, values, ())
        operations = documented.get(route.schema_key, {})
        page = PAGES.get(str(pattern.name))
        methods = tuple(map(str.upper, operations)) or (tuple(page.methods) if page else ("GET", "POST"))
        found.append(route._replace(methods=methods))
    assert len(found) > 290
    return found


def operations(walk: list[Route]) -> Iterator[tuple[str, Route, Schema]]:
    """Yield every operation of the API that writes, with the schema of its body."""
    documented = control_api.get_openapi_schema()["paths"]
    for route in walk:
        for method in route.methods:
            said = documented.get(route.schema_key, {}).get(method.lower())
            if said is not None and method != "GET":
                content = said.get("requestBody", {}).get("content", {})
                yield method, route, content.get(JSON, {}).get("schema", {})


def test_every_address_of_the_api_is_in_its_document(walk: list[Route]) -> None:
    documented = set(control_api.get_openapi_schema()["paths"])
    found = {route.schema_key for route in walk if route.template.startswith("api/")}
    assert documented <= found
    assert {path.rpartition("/")[2] for path in found - documented} == {"openapi.json", "docs", ""}


def test_no_part_of_an_address_makes_a_route_fail(walk: list[Route], browser: Browser) -> None:
    hostile = itertools.cycle(PARTS)
    for route in walk:
        for at in range(len(route.values)):
            for turn in range(2):
                browser.ask(route.methods[turn % len(route.methods)], route.path(at, next(hostile)))
    for value in PARTS:
        for template in ("/api/v1/{}", "/api/v1/organizations/{}", "/o/{}/-/team/", "/o/acme/air/{}/", "/{}"):
            browser.ask("GET", template.format(value))


def test_what_another_organization_has_is_not_there(walk: list[Route], browser: Browser) -> None:
    other = make_environment("globex")
    stock(other, make_owner(other.org))
    rename_organization(actor=SYSTEM, org=Organization.unscoped.get(pk=other.org_id), name=SECRET)
    foreign = {row.public_id.partition("_")[0]: row.public_id for row in rows_of(other)}
    assert SECRET.encode() in _as_owner_of(other)
    asked = 0
    for route in walk:
        for at, ((_, name), value) in enumerate(zip(PART.findall(route.template), route.values, strict=True)):
            ids = {"org": "globex"}.get(name) or foreign.get(value.partition("_")[0])
            for method in route.methods if ids else ():
                browser.ask(method, route.path(at, str(ids)))
                assert 400 <= browser.status < 500, f"{method} {route.path(at, str(ids))}: {browser.status}"
                asked += 1
    assert asked > 300


def _as_owner_of(environment: Environment) -> bytes:
    client = Client()
    client.force_login(make_member(environment.org, "owner").user)
    return client.get(f"/api/v1/organizations/{environment.org.slug}").content


def test_no_body_makes_the_api_fail(walk: list[Route], browser: Browser) -> None:
    bodies, media, asked = itertools.cycle(BODIES), itertools.cycle(MEDIA), 0
    for method, route, _ in operations(walk):
        for _ in range(4):
            browser.ask(method, route.path(), next(bodies))
        browser.ask(method, route.path(), next(bodies), next(media))
        asked += 1
    assert asked > 85
    for body in BODIES:
        browser.ask("PATCH", "/api/v1/organizations/acme", body)
        browser.ask("POST", "/api/v1/apply", body)
        assert browser.status >= 400, body[:80]
    for said in MEDIA:
        browser.ask("PATCH", "/api/v1/organizations/acme", b'{"name": "Acme", "revision": 1}', said)


def test_no_member_of_a_body_makes_the_api_fail(walk: list[Route], browser: Browser) -> None:
    """A body as it should be, but for one member at a time."""
    schemas = control_api.get_openapi_schema()["components"]["schemas"]
    values, asked = itertools.cycle(VALUES), 0
    for method, route, schema in operations(walk):
        if not schema:
            continue
        body = sample(schema, schemas)
        for way in members(schema, schemas):
            for _ in range(3):
                browser.ask(method, route.path(), json.dumps(with_value(body, way, next(values))).encode())
                asked += 1
    assert asked > 600
