"""An organisation finds nothing of another: every address of every plane, walked as strangers walk it.

Addresses are read off the URL resolver and the data plane's routes, and values for their parts off the rows of the
other organisation, so a route that is added is walked without anybody thinking of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from django.apps import apps
from django.test import Client
from tests.builders.addresses import PART, routes
from tests.builders.control import (
    control_home,
    django_db_modify_db_settings,
    environment,
    make_account,
    make_environment,
    make_key,
    owner,
)
from tests.builders.dashboards import BOARD
from tests.builders.flags import make_saved_flag
from tests.builders.onnx_models import linear
from tests.builders.policies import policy
from tests.builders.projects import DELAY_MODEL, RECENT, WORST, flights, resources
from tests.builders.reviews import make_override, make_queue, make_task
from tests.builders.sign_on import make_domain, make_provider
from tests.builders.snapshots import make_key as key_spec
from tests.builders.snapshots import make_snapshot
from tests.builders.strangers import Visitor, belongings, names_rows, visitors, walked
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
from headwater.control.dashboards.actions import create_dashboard
from headwater.control.identity.invitations import invite
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.kit.tenancy import TenantEntity, UnscopedQuery
from headwater.control.orgs.models import Environment, Membership
from headwater.control.sso.actions import change_policy, name_recovery_owner
from headwater.core.dashboards import parse_board
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
SECRET = "what-only-acme-may-read"


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
    make_saved_flag(owner, environment.project)
    secret = parse_board(BOARD | {"title": SECRET})
    create_dashboard(actor=owner, environment=environment, name="delays", board=secret, note=SECRET)
    make_task(make_queue(environment), environment)
    make_override(environment, owner)
    make_domain(environment.org)
    make_provider(environment.org)
    invite(actor=owner, org=environment.org, email="new@example.com", role=get_role("analyst"))
    named = Membership.unscoped.get(user=owner.subject)
    name_recovery_owner(actor=owner, membership=named, reason=SECRET)
    change_policy(actor=owner, org=environment.org, mfa_required=False, reason=SECRET)
    return environment


def seen_by(visitor: Visitor, paths: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the addresses of a template that somebody reads, with all that each shows."""
    for path in paths if visitor.walks(paths[0]) else ():
        status, shown = visitor.see(path)
        assert status < 500 or status == 503, f"{path} by {visitor.kind}: {status}"
        if status == 405:
            return  # whatever is named: nothing is read here
        yield path, shown


def to_be_kept(acme: Environment) -> list[str]:
    """Return what no stranger may see: the ids of rows, the people's addresses, what is written in confidence."""
    rows = belongings(acme)
    assert len({type(row) for row in rows}) > 30
    ids = [row.public_id for row in rows] + [str(row.pk) for row in rows]
    return [SECRET, *ids, *Membership.objects.for_org(acme.org).values_list("user__email", flat=True)]


def revisions(acme: Environment) -> dict[Any, int]:
    kinds = [model for model in apps.get_models() if issubclass(model, TenantEntity)]
    return {row.pk: row.revision for kind in kinds for row in kind.unscoped.filter(org=acme.org)}


@pytest.mark.timeout(600)
def test_no_address_of_the_control_plane_shows_a_stranger_anything(acme: Environment) -> None:
    people = visitors(make_environment("other"))
    kept = to_be_kept(acme)
    before = AuditEvent.objects.filter(org_id=acme.org_id).count()
    templates = dict(walked(acme, ("acme", "other")))
    assert len(templates) > 450
    leaks = [
        f"{path} by {visitor.kind}: {item}"
        for paths in templates.values()
        for visitor in people
        for path, shown in seen_by(visitor, paths)
        for item in kept
        if item in shown and item not in path
    ]
    assert leaks == []
    assert all(visitor.is_let_in() for visitor in people)
    assert AuditEvent.objects.filter(org_id=acme.org_id).count() == before


@pytest.mark.timeout(300)
def test_at_the_same_addresses_its_own_people_find_it(acme: Environment) -> None:
    people, kept = visitors(acme), to_be_kept(acme)
    found = Counter(
        visitor.kind
        for paths in dict(walked(acme, ("acme",))).values()
        for visitor in people
        if any(item in shown and item not in path for path, shown in seen_by(visitor, paths) for item in kept)
    )
    assert found["member"] > 75
    assert found["staff"] > 125
    assert found["key"] > 25


@pytest.mark.timeout(300)
def test_no_address_lets_a_stranger_change_anything(acme: Environment) -> None:
    people = visitors(make_environment("other"))
    before = AuditEvent.objects.filter(org_id=acme.org_id).count(), revisions(acme)
    there = [paths[:1] if "org>" in template else paths for template, paths in walked(acme, ("acme",))]
    at_home = [paths for template, paths in walked(acme, ("other",)) if "org>" in template and names_rows(template)]
    for paths in there + at_home:
        for visitor in [each for each in people if each.walks(paths[0])]:
            for method, path in product(visitor.writes(paths[0]), paths):
                status = visitor.send(method, path)
                assert status < 500 or status == 503, f"{method} {path} by {visitor.kind}: {status}"
    assert (AuditEvent.objects.filter(org_id=acme.org_id).count(), revisions(acme)) == before
    assert all(visitor.is_let_in() for visitor in people)


def test_addresses_without_a_sign_in_ask_for_the_secret_of_their_own(acme: Environment) -> None:
    for template, _ in routes():
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
                        assert "env_acme" not in reply.text or "env_acme" in path or path in OPERATORS, (
                            f"{method} {path}"
                        )
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
