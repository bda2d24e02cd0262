"""An organisation finds nothing of another: every address of every plane, walked as strangers walk it.

Addresses are read off the URL resolver and the data plane's routes, and values for their parts off the rows of the
other organisation, so a route that is added is walked without anybody thinking of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from django.apps import apps
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from tests.builders.control import (
    control_home,
    django_db_modify_db_settings,
    environment,
    make_account,
    make_environment,
    make_key,
    make_member,
    owner,
)
from tests.builders.onnx_models import linear
from tests.builders.policies import policy
from tests.builders.projects import DELAY_MODEL, RECENT, WORST, flights, resources
from tests.builders.snapshots import make_key as key_spec
from tests.builders.snapshots import make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.process import alive, until
from tests.fakes.query_process import FLIGHTS, dataset, endpoint

from headwater.control import configuration
from headwater.control.access.actions import grant
from headwater.control.access.groups import add_to_group, create_group
from headwater.control.access.queries import get_role
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.apply import apply_project
from headwater.control.identity.actions import change_staff
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.kit.tenancy import Entity, TenantEntity, UnscopedQuery
from headwater.control.orgs.models import Environment
from headwater.core.settings import Settings
from headwater.core.snapshot import EnvironmentSpec
from headwater.engines.blobs import open_blobs
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.services import app as services_app
from headwater.services.kit.application import compose
from headwater.services.kit.runtime import ProcessRuntime

__all__ = ["control_home", "django_db_modify_db_settings", "environment", "owner"]

#: They tell of the process and take no key; proxies keep them inside.
OPERATORS = ("/readyz", "/metrics")
SIGNED_IN: dict[str, Any] = {}
SECRET = "what-only-acme-may-read"
PART = re.compile(r"<(?:(\w+):)?(\w+)>")
#: Nobody is signed in at these; each asks for a secret of its own in place of a member.
OPEN = re.compile(r"^(static|accounts|internal|livez|readyz|metrics)")
METHODS = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def acme(environment: Environment, owner: Actor) -> Environment:
    """An organisation that has one of everything."""
    sha256 = open_blobs(configuration.current()).put(linear([1.0, 2.0]))
    timed = flights(more="      - name: at\n        logicalType: timestamp\n")
    project = resources({"d": timed}, {"worst.sql": WORST}, {"m": (DELAY_MODEL, sha256)}, {"recent.yaml": RECENT})
    apply_project(actor=owner, environment=environment, resources=project)
    account = make_account(environment.project, "loader")
    make_key(environment, account)
    team = create_group(actor=SYSTEM, org=environment.org, name="partners", description=SECRET)
    add_to_group(actor=SYSTEM, group=team, service_account=account)
    grant(actor=SYSTEM, scope=environment, role=get_role("analyst"), group=team, reason=SECRET)
    policy(environment, "partners_only", principals=["group:partners"], purpose=SECRET)
    return environment


def ours(org_id: Any) -> list[Entity]:
    """Return a row of every kind that an organisation has."""
    rows = []
    for model in apps.get_models():
        if issubclass(model, TenantEntity):
            rows += list(model.unscoped.filter(org=org_id)[:2])
    return rows


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield every address as a template, with its pattern."""
    for item in resolver.url_patterns:
        part = str(item.pattern).removeprefix("^").removesuffix("$")
        if isinstance(item, URLResolver):
            yield from patterns(item, prefix + part)
        else:
            yield prefix + part, item


def values_for(name: str, converter: str, rows: Iterable[Entity], acme: Environment) -> list[str]:
    """Return what a part of an address may be, to name something of acme's."""
    fixed = {"org": acme.org.slug, "project": acme.project.slug, "environment": acme.key, "env": acme.key}
    if name in fixed:
        return [fixed[name]]
    if converter == "uuid" or name in ("object_id", "pk"):
        return [str(row.pk) for row in rows]
    if converter == "int":
        return ["1"]
    names = {
        str(getattr(row, field))
        for row in rows
        for field in ("name", "slug", "key", "number", "version")
        if getattr(row, field, None)
    }
    return sorted(names) if converter == "slug" else sorted({*(row.public_id for row in rows), *names})


def addresses(acme: Environment) -> Iterator[tuple[str, str]]:
    """Yield every template of the control plane with the addresses that name something of acme's."""
    rows = ours(acme.org_id)
    for template, _ in patterns(get_resolver()):
        if OPEN.match(template) or template.startswith(("^", "(")):
            continue
        parts = PART.findall(template)
        options = [values_for(name, converter, rows, acme) for converter, name in parts]
        for at in range(max((len(each) for each in options), default=1)):
            values = iter(each[min(at, len(each) - 1)] for each in options)
            yield template, "/" + PART.sub(lambda _: next(values), template)  # noqa: B023 - used at once


def leaks_in(path: str, text: str, forbidden: Iterable[str]) -> list[str]:
    return [f"{path}: {item}" for item in forbidden if item in text and item not in path]


def strangers(other: Environment) -> dict[str, Client]:
    """Return an owner of another organisation, one on staff, and the holder of their most powerful key."""
    member, staff = make_member(other.org, "owner"), make_member(other.org, "owner")
    change_staff(actor=SYSTEM, user=staff.user, is_staff=True)
    SIGNED_IN.update(member=member.user, staff=staff.user)
    found = strangers_again({"member": Client(), "staff": Client()})
    _, text = make_key(other, make_account(other.project, "mighty", role="owner"))
    return found | {"key": Client(headers={"Authorization": f"Bearer {text}"})}


def strangers_again(clients: dict[str, Client]) -> dict[str, Client]:
    """Return the same, signed in again: one of the addresses is where they sign out."""
    for name, user in SIGNED_IN.items():
        clients[name].force_login(user)
    return clients


def walks(who: str, path: str) -> bool:
    """Return whether somebody walks there: the admin is for staff, the API for members and keys."""
    if path.startswith("/admin/"):
        return who == "staff"
    return who == "member" or (who == "key" and path.startswith("/api/"))


@pytest.mark.timeout(900)
def test_no_address_of_the_control_plane_shows_a_stranger_anything(acme: Environment) -> None:
    rows = ours(acme.org_id)
    assert len({type(row) for row in rows}) > 15
    forbidden = [SECRET, *(row.public_id for row in rows), *(str(row.pk) for row in rows)]
    clients = strangers(make_environment("other"))
    walked = {path for _, path in addresses(acme)}
    assert len(walked) > 400
    before = AuditEvent.objects.filter(org_id=acme.org_id).count()
    leaks = []
    for path in sorted(walked):
        for who, client in clients.items():
            if not walks(who, path):
                continue
            reply = client.get(path)
            assert reply.status_code < 500 or reply.status_code == 503, f"{path} by {who}: {reply.status_code}"
            leaks += leaks_in(f"{path} by {who}", reply.getvalue().decode("utf-8", "replace"), forbidden)
    assert leaks == []
    assert AuditEvent.objects.filter(org_id=acme.org_id).count() == before


@pytest.mark.timeout(900)
def test_no_address_lets_a_stranger_change_anything(acme: Environment) -> None:
    clients = strangers(make_environment("other"))
    counts = AuditEvent.objects.filter(org_id=acme.org_id).count()
    revisions = {row.pk: row.revision for row in ours(acme.org_id)}
    for path in dict(addresses(acme)).values():
        for who, client in strangers_again(clients).items():
            for method in METHODS if walks(who, path) else ():
                reply = client.generic(method, path, b"{}", content_type="application/json")
                assert reply.status_code < 500 or reply.status_code == 503, f"{method} {path}: {reply.status_code}"
    assert AuditEvent.objects.filter(org_id=acme.org_id).count() == counts
    assert {row.pk: row.revision for row in ours(acme.org_id)} == revisions


def test_addresses_without_a_sign_in_ask_for_the_secret_of_their_own(acme: Environment) -> None:
    for template, _ in patterns(get_resolver()):
        if template.startswith("internal/"):
            path = "/" + PART.sub(acme.public_id, template)
            assert {Client().get(path).status_code, Client().post(path).status_code} <= {401, 405}, path


@pytest.mark.parametrize(
    "model", [model for model in apps.get_models() if issubclass(model, TenantEntity)], ids=lambda model: model.__name__
)
def test_a_tenants_table_is_not_asked_without_saying_whose_rows_are_meant(model: type[TenantEntity]) -> None:
    for ask in ("all", "count", "first", "exists"):
        with pytest.raises(UnscopedQuery):
            getattr(model.objects, ask)()


async def test_no_address_of_the_data_plane_shows_a_key_another_environments_rows(tmp_path: Path) -> None:
    control, settings = FakeControl(), Settings(home=tmp_path)
    runtime = ProcessRuntime(settings, journal=MemoryJournal(), lake=open_lake(settings))
    control.establish_trust(runtime.home)
    _publish(control, "env_acme", "hw_acme")
    _publish(control, "env_other", "hw_other")
    made = [services_app._create(name, runtime) for name in services_app.SERVICES]
    door = compose(runtime, made, transport=control.transport())
    async with alive(door):
        await until(lambda: len(runtime.environments) == 2)
        runtime.lake.append("env_acme/flights", _rows(SECRET), AppTransaction("test", 1))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://services") as http:
            mine = await http.get("/v1/datasets/flights/rows", headers={"Authorization": "Bearer hw_acme"})
            assert SECRET in mine.text, "there is something to find"
            app: Any = door.app
            routes = list(_routes(app.router))
            assert len(routes) > 40
            for template, methods in routes:
                for method in methods:
                    for path in _paths(template):
                        reply = await http.request(
                            method, path, headers={"Authorization": "Bearer hw_other"}, json={"sql": "from flights"}
                        )
                        assert SECRET not in reply.text, f"{method} {path}"
                        assert "env_acme" not in reply.text or "env_acme" in path or path in OPERATORS, f"{method} {path}"
                        assert not path.startswith("/internal/") or reply.status_code == 401, path


def _routes(router: Any, prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Yield the template and the methods of every route, those of included routers too."""
    for route in router.routes:
        if getattr(route, "methods", None):
            yield prefix + route.path, route.methods
        elif hasattr(route, "original_router"):
            yield from _routes(route.original_router, prefix + getattr(router, "prefix", ""))


def _paths(template: str) -> list[str]:
    """Return a route's addresses, each part by a name that acme has."""
    names = ["flights", "secretive", "env_acme", "rcp_1", "1"]
    return sorted({re.sub(r"\{[^}]+\}", name, template) for name in names})


def _publish(control: FakeControl, environment_id: str, key: str) -> None:
    mighty = key_spec(
        "dataset.read:*", "dataset.ingest:*", "endpoint.invoke:*", "sql.run:*", "model.read:*", "model.invoke:*",
        "quarantine.read:*", "quarantine.resolve:*", "feature.read:*", "outcome.write:*", "flag.evaluate:*",
        prefix=key[3:], key_id=f"key_{key}",
    )  # fmt: skip
    secretive = {"secretive": endpoint("secretive", "select * from flights")} if environment_id == "env_acme" else {}
    snapshot = make_snapshot(
        1, environment=environment_id, keys={key: mighty}, datasets={"flights": dataset(FLIGHTS)}, endpoints=secretive
    )
    ids = EnvironmentSpec(id=environment_id, key="dev", project="air", organization=environment_id[4:])
    control.publish(snapshot.model_copy(update={"environment": ids}))


def _rows(carrier: str) -> pa.Table:
    now = pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "id": pa.array([1], pa.int64()),
            "carrier": pa.array([carrier]),
            "at": now,
            "_hw_seq": pa.array([1], pa.int64()),
            "_hw_received_at": now,
            "_hw_receipt": pa.array(["rcp_1"]),
            "_hw_contract": pa.array(["1.0"]),
        }
    )
