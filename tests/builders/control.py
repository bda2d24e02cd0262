"""The control plane under test: Django set up, and plain functions that make what a test needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

import django
import pytest
from django.apps import apps
from django.contrib.auth.hashers import Argon2PasswordHasher
from pytest_django import DjangoDbBlocker

os.environ["DJANGO_SETTINGS_MODULE"] = "headwater.control.settings"
if not apps.ready:
    django.setup()

from django.db import connection, connections
from django.db.migrations.loader import MigrationLoader

from headwater.control import configuration
from headwater.control.access.actions import create_key, create_service_account, grant, sync_built_in_roles
from headwater.control.access.members import add_member
from headwater.control.access.models import ApiKey, ServiceAccount
from headwater.control.access.queries import actor_for_user, get_role
from headwater.control.audit.models import AuditEvent
from headwater.control.bootstrap import make_secrets
from headwater.control.identity.actions import create_user
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.kit.sealed_tables import TableSeal, standing_seals
from headwater.control.orgs.actions import create_environment, create_organization, create_project
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.control.snapshots.models import Snapshot
from headwater.core import snapshot as core
from headwater.core.ids import new_uuid

PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the test database in a file, as the real one: the one in memory locks differently."""
    if connection.vendor != "sqlite":
        # HEADWATER_DATABASE__URL names another database to run the same tests on.
        return
    path = tmp_path_factory.mktemp("control") / "test.sqlite3"
    connections["default"].settings_dict["TEST"]["NAME"] = str(path)


@pytest.fixture(scope="session", autouse=True)
def control_home() -> None:
    """Give the process's throw-away home its secrets, and hash passwords as cheaply as argon2 can."""
    configuration.home().prepare()
    make_secrets(configuration.home())
    Argon2PasswordHasher.time_cost, Argon2PasswordHasher.memory_cost, Argon2PasswordHasher.parallelism = 1, 8, 1


@pytest.fixture
def _sealed_again(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    yield
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        for seal in _seals():
            seal.install(editor)


@pytest.fixture
def committed(_sealed_again: None, transactional_db: None) -> Iterator[None]:
    """Let the test commit; afterwards break the seals for long enough to empty the tables."""
    yield
    break_seals()


def break_seals(tables: str = "") -> None:
    """Drop the triggers of the tables whose names begin like that; ``committed`` brings them back."""
    with connection.schema_editor() as editor:
        for seal in _seals():
            if seal.table.startswith(tables):
                seal.remove(editor)


@cache
def _seals() -> list[TableSeal]:
    """Return what refuses to delete rows."""
    graph = MigrationLoader(None).graph
    keys = dict.fromkeys(key for leaf in graph.leaf_nodes() for key in graph.forwards_plan(leaf))
    return standing_seals(graph.nodes[key] for key in keys)


@pytest.fixture
def environment(db: None) -> Environment:
    """An organisation "acme" with an owner, a project "air" and an environment "dev"."""
    return make_environment()


@pytest.fixture
def owner(environment: Environment) -> Actor:
    """The owner of "acme" as somebody who acts."""
    return make_owner(environment.org)


def make_environment(slug: str = "acme") -> Environment:
    sync_built_in_roles(actor=SYSTEM)
    org = create_organization(actor=SYSTEM, slug=slug)
    project = create_project(actor=SYSTEM, org=org, slug="air")
    return create_environment(actor=SYSTEM, project=project, key="dev")


def make_user(email: str = "", *, is_admin: bool = False) -> User:
    return create_user(actor=SYSTEM, email=email or f"u{new_uuid().hex}@example.com", password=None, is_admin=is_admin)


def make_member(org: Organization, role: str = "developer", user: User | None = None) -> Membership:
    return add_member(actor=SYSTEM, org=org, user=user or make_user(), role=get_role(role, org))


def make_owner(org: Organization) -> Actor:
    return actor_for_user(make_member(org, "owner").user)


def make_account(project: Project, name: str = "loader", role: str = "producer") -> ServiceAccount:
    account = create_service_account(actor=SYSTEM, project=project, name=name)
    grant(actor=SYSTEM, scope=project, role=get_role(role, project.org), service_account=account)
    return account


def make_key(environment: Environment, account: ServiceAccount | None = None, **extra: Any) -> tuple[ApiKey, str]:
    account = account or make_account(environment.project, f"a{new_uuid().hex[:12]}")
    return create_key(actor=SYSTEM, environment=environment, name="key", service_account=account, **extra)


def newest_snapshot(environment: Environment) -> core.Snapshot:
    row = Snapshot.unscoped.filter(environment=environment).order_by("-number").first()
    assert row is not None
    return core.Snapshot.model_validate_json(row.payload)


def events(org: Organization, action: str = "") -> list[AuditEvent]:
    found = AuditEvent.objects.filter(org_id=org.id).order_by("n")
    return list(found.filter(action=action) if action else found)
