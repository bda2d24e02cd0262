"""Secrets are looked up by digest or compared in constant time, and members that nobody offers are not taken."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from tests.builders.control import (
    control_home,
    django_db_modify_db_settings,
    environment,
    make_account,
    make_key,
    owner,
)
from tests.builders.http import Api, environment_path, project_path, with_session

import headwater
from headwater.control.access.models import ServiceAccount
from headwater.control.access.queries import find_live_key
from headwater.control.api.urls import api as control_api
from headwater.control.orgs.models import Environment, Organization, Project

__all__ = ["control_home", "django_db_modify_db_settings", "environment", "owner"]

#: Words in the names of what must not be compared letter by letter.
SECRET = {"secret", "token", "password", "signature", "otp", "nonce", "hmac"}
#: Their bodies name the place that is meant, in place of an address; the caller needs to be allowed there.
PLACED = {"/api/v1/apply", "/api/v1/plan", "/api/v1/explain"}


def comparisons() -> Iterator[tuple[str, str]]:
    """Yield place and text of every ``==`` and ``!=`` that concerns something called a secret."""
    root = Path(headwater.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                named = [side for side in (node.left, *node.comparators) if _is_secret(side)]
                literal = any(isinstance(side, ast.Constant) for side in (node.left, *node.comparators))
                if named and not literal:
                    yield f"{path.relative_to(root)}:{node.lineno}", ast.unparse(node)


def _is_secret(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return bool(SECRET & set(name.lower().split("_")))


def test_no_secret_is_compared_letter_by_letter() -> None:
    found = {place: text for place, text in comparisons() if "signature.key" not in text}
    assert found == {}, "use hmac.compare_digest, or look it up by its digest"


def test_a_key_is_looked_up_by_its_digest(environment: Environment) -> None:
    """Neither its text nor a part of it reaches the database, so the time taken tells nothing about it."""
    _, text = make_key(environment)
    with CaptureQueriesContext(connection) as captured:
        assert find_live_key(text) is not None
        assert find_live_key(text[:-1] + ("a" if text[-1] != "a" else "b")) is None
    secret = text.rpartition("_")[2]
    assert captured.captured_queries
    assert all(secret[:16] not in query["sql"] for query in captured.captured_queries)


def test_the_api_offers_no_member_that_only_the_platform_sets() -> None:
    """Identity, tenancy, authorship and state of rows: no body of a request has a place for them."""
    ours = {
        "id", "pk", "org", "org_id", "organization", "organization_id", "project_id", "environment_id", "is_superuser",
        "is_staff", "is_sealed", "state", "created_at", "updated_at", "created_by", "granted_by", "decided_by",
        "requested_by", "approved_by", "secret_sha256", "key_prefix", "sealed_secret", "hash", "managed_by",
    }  # fmt: skip
    schema = control_api.get_openapi_schema()
    offered = []
    for path, operations in schema["paths"].items():
        if path in PLACED:
            continue
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {}) if isinstance(operation, dict) else {}
            name = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
            members = schema["components"]["schemas"].get(name, {}).get("properties", {})
            offered += [f"{method} {path}: {member}" for member in members if member in ours]
    assert offered == []


def test_members_that_are_sent_all_the_same_change_nothing(environment: Environment) -> None:
    other = Organization.unscoped.get(pk=environment.org_id)
    more: dict[str, Any] = {
        "id": "org_01J0ABCDEFGHJKMNPQRSTVWXYZ", "pk": "1", "org": "other", "org_id": "other", "is_superuser": True,
        "is_staff": True, "state": "approved", "status": "suspended", "is_sealed": True, "created_at": "2001-01-01",
    }  # fmt: skip
    api: Api = with_session(environment)
    assert api("PATCH", "/organizations/acme", {"name": "New", **more}).status in (200, 422)
    row = Organization.unscoped.get(pk=other.pk)
    assert (row.slug, row.status, row.public_id, row.created_at) == (
        other.slug, other.status, other.public_id, other.created_at,
    )  # fmt: skip
    assert api.post("/organizations/acme/projects", {"slug": "mine", **more}).status in (201, 422)
    for project in Project.unscoped.filter(slug="mine"):
        assert (project.org_id, project.created_at.year > 2001) == (environment.org_id, True)
    answer = api.post(project_path(environment, "service-accounts"), {"name": "robot", "disabled_at": None, **more})
    assert answer.status in (201, 422)
    for account in ServiceAccount.unscoped.filter(name="robot"):
        assert (account.org_id, account.project_id) == (environment.org_id, environment.project_id)
    make_account(environment.project, "holder")
    answer = api.post(
        environment_path(environment, "keys"),
        {"name": "k", "service_account": "holder", "secret_sha256": "0" * 64, "key_prefix": "chosen00", **more},
    )
    assert answer.status in (201, 422)
    assert "chosen00" not in str(answer.body)
