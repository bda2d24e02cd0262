"""An organisation sees nothing of another: every route of the control API, walked with strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.builders.control import make_account, make_environment, make_key
from tests.builders.dashboards import BOARD
from tests.builders.flags import make_saved_flag
from tests.builders.http import Api, with_key, with_session
from tests.builders.onnx_models import linear
from tests.builders.policies import policy
from tests.builders.projects import DELAY_MODEL, RECENT, WORST, flights, resources
from tests.builders.reviews import make_override, make_queue, make_task
from tests.builders.sign_on import make_domain, make_provider

from headwater.control import configuration
from headwater.control.access.groups import add_to_group, create_group
from headwater.control.access.models import ApiKey, Grant
from headwater.control.access.queries import get_role
from headwater.control.access.roles import create_role
from headwater.control.api.urls import api as control_api
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.apply import apply_project
from headwater.control.dashboards.actions import create_dashboard
from headwater.control.identity.invitations import invite
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment, Membership
from headwater.control.sso.actions import name_recovery_owner
from headwater.core.dashboards import parse_board
from headwater.engines.blobs import open_blobs

BODIES: dict[str, Any] = {
    "PATCH /organizations/{org}": {"name": "Taken over"},
    "POST /organizations/{org}/projects": {"slug": "mine"},
    "POST /organizations/{org}/projects/{project}/environments": {"key": "mine"},
    "PATCH /organizations/{org}/projects/{project}/environments/{environment}": {"protected": True},
    "POST /organizations/{org}/members": {"email": "x@example.com", "role": "owner"},
    "POST /organizations/{org}/invitations": {"email": "x@example.com", "role": "owner"},
    "POST /organizations/{org}/domains": {"name": "evil.example"},
    "PATCH /organizations/{org}/domains/{domain}": {"auto_join": True},
    "POST /organizations/{org}/identity-providers": {
        "name": "mine",
        "issuer": "https://evil.example",
        "client_id": "mine",
        "client_secret": "mine",
    },
    "PATCH /organizations/{org}/identity-providers/{provider}": {"enabled": False},
    "POST /organizations/{org}/recovery-owners": {"member": "mem_01J0ABCDEFGHJKMNPQRSTVWXYZ", "reason": "mine"},
    "PUT /organizations/{org}/sign-in-policy": {"mfa_required": False},
    "PATCH /organizations/{org}/members/{member}": {"role": "analyst"},
    "POST /organizations/{org}/groups": {"name": "mine"},
    "POST /organizations/{org}/groups/{group}/members": {"email": "x@example.com"},
    "POST /organizations/{org}/roles": {"name": "mine", "permissions": ["dataset.read"]},
    "PATCH /organizations/{org}/roles/{role}": {"permissions": ["dataset.read"]},
    "PATCH /organizations/{org}/projects/{project}": {"name": "Taken over"},
    "POST /organizations/{org}/grants": {"role": "owner", "group": "partners"},
    "PUT /organizations/{org}/projects/{project}/environments/{environment}/policies/{policy}": {
        "dataset": "flights",
        "priority": 1,
        "principals": ["everyone"],
        "purpose": "mine",
    },
    "PUT /organizations/{org}/projects/{project}/environments/{environment}/dashboards/{dashboard}": {
        "spec": {"title": "Taken over"}
    },
    "POST /organizations/{org}/projects/{project}/environments/{environment}/dashboards/{dashboard}/revert": {
        "number": 1
    },
    "POST /organizations/{org}/projects/{project}/environments/{environment}/policy-order": {
        "resource": "dataset:flights",
        "policies": ["open_to_all"],
    },
    "POST /organizations/{org}/projects/{project}/environments/{environment}/policies/{policy}/preview": {
        "who": "loader",
        "policy": {"dataset": "flights", "priority": 1, "principals": ["everyone"], "purpose": "mine"},
    },
    "POST /organizations/{org}/projects/{project}/flags": {"key": "mine", "owner": "me", "kind": "permanent"},
    "PATCH /organizations/{org}/projects/{project}/flags/{flag}": {"owner": "me"},
    "PATCH /organizations/{org}/projects/{project}/environments/{environment}/flags/{flag}": {"enabled": True},
    "POST /organizations/{org}/projects/{project}/environments/{environment}/flags/{flag}/toggle": {"enabled": True},
    "POST /organizations/{org}/projects/{project}/service-accounts": {"name": "mine"},
    "POST /organizations/{org}/projects/{project}/environments/{environment}/keys": {"name": "mine"},
    "POST /organizations/{org}/projects/{project}/datasets": {"text": flights()},
    "PATCH /organizations/{org}/projects/{project}/datasets/{dataset}": {"description": "mine"},
    "POST /organizations/{org}/projects/{project}/datasets/{dataset}/contracts": {"text": flights("1.1.0")},
    "POST /organizations/{org}/projects/{project}/datasets/{dataset}/contracts/{version}/activate": {
        "environment": "dev"
    },
    "PUT /organizations/{org}/projects/{project}/models/{model}/routes": {
        "environment": "dev",
        "routes": [{"version": 1}],
    },
    "POST /organizations/{org}/projects/{project}/models/{model}/versions/{number}/promote": {"environment": "dev"},
    "POST /organizations/{org}/projects/{project}/models": {"environment": "dev", "text": DELAY_MODEL},
    "POST /organizations/{org}/projects/{project}/models/{model}/rollback": {"environment": "dev"},
    "PUT /organizations/{org}/projects/{project}/models/{model}/rules": {"environment": "dev", "rules": {}},
    "PATCH /organizations/{org}/projects/{project}/models/{model}/tags": {"tags": {"team": "mine"}},
    "PUT /organizations/{org}/projects/{project}/models/{model}/aliases/{alias}": {"version": 1},
    "PATCH /organizations/{org}/projects/{project}/models/{model}/versions/{number}/tags": {"tags": {"team": "mine"}},
    "POST /organizations/{org}/projects/{project}/environments/{environment}/quarantine/replay": {
        "dataset": "flights",
        "fingerprint": "f",
    },
    "POST /organizations/{org}/projects/{project}/environments/{environment}/quarantine/discard": {
        "dataset": "flights",
        "fingerprint": "f",
    },
    "POST /organizations/{org}/projects/{project}/environments/{environment}/review/claim": {"queue": "uncertain"},
    "POST /organizations/{org}/projects/{project}/environments/{environment}/review/tasks/{task}/decide": {
        "verdict": "label",
        "answers": {"late": True},
    },
    "POST /organizations/{org}/projects/{project}/environments/{environment}/overrides": {
        "model": "scored",
        "output": "score",
        "key": {"carrier": "UA"},
        "value": 1,
        "reason": "mine",
        "valid_until": "2099-01-01T00:00:00Z",
    },
}


def scoped_routes() -> Iterator[tuple[str, str]]:
    """Yield method and path template of every route that names an organisation."""
    for path, operations in control_api.get_openapi_schema(path_prefix="")["paths"].items():
        for method in operations:
            if "{org}" in path:
                yield method.upper(), path


@pytest.fixture
def theirs(environment: Environment, owner: Actor) -> dict[str, str]:
    """An organisation that has one of everything; the parts of its addresses."""
    sha256 = open_blobs(configuration.current()).put(linear([1.0, 2.0]))
    timed = flights(more="      - name: at\n        logicalType: timestamp\n")
    project = resources({"d": timed}, {"worst.sql": WORST}, {"m": (DELAY_MODEL, sha256)}, {"recent.yaml": RECENT})
    apply_project(actor=owner, environment=environment, resources=project)
    make_key(environment, make_account(environment.project, "loader"))
    queue = make_queue(environment)
    group = create_group(actor=owner, org=environment.org, name="partners")
    member = Membership.unscoped.get(user=owner.subject)
    board = parse_board(BOARD)
    dashboard = create_dashboard(actor=owner, environment=environment, name="delays", board=board)
    return {
        "org": environment.org.slug,
        "project": environment.project.slug,
        "environment": environment.key,
        "dataset": "flights",
        "version": "1.0.0",
        "endpoint": "worst",
        "view": "recent",
        "flag": make_saved_flag(owner, environment.project).key,
        "dashboard": dashboard.name,
        "model": "delay",
        "alias": "champion",
        "number": "1",
        "name": "loader",
        "queue": queue.key,
        "job": "job_01JD0000000000000000000000",
        "task": make_task(queue, environment).public_id,
        "override": make_override(environment, owner).public_id,
        "group": group.name,
        "place": add_to_group(actor=owner, group=group, membership=member).public_id,
        "role": create_role(actor=owner, org=environment.org, name="watcher", permissions=["dataset.read"]).name,
        "snapshot": str(environment.snapshots.order_by("-number")[0].number),
        "event": AuditEvent.objects.filter(org_id=environment.org_id)[0].public_id,
        "given": Grant.objects.for_org(environment.org)[0].public_id,
        "policy": policy(environment, "open_to_all").name,
        "key": ApiKey.unscoped.get().public_id,
        "member": Membership.unscoped.all()[0].public_id,
        "invitation": invite(actor=owner, org=environment.org, email="new@example.com", role=get_role("analyst"))[
            0
        ].public_id,
        "domain": make_domain(environment.org).public_id,
        "provider": make_provider(environment.org).public_id,
        "recovery": name_recovery_owner(actor=owner, membership=member, reason="away").public_id,
    }


def ask(api: Api, method: str, template: str, parts: dict[str, str]) -> Any:
    path = re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], template)
    body = BODIES.get(f"{method} {template}", {})
    return api(method, path, None if method == "GET" else body)


def test_there_are_routes_to_walk() -> None:
    assert len(list(scoped_routes())) > 35
    assert set(BODIES) <= {f"{method} {path}" for method, path in scoped_routes()}


def test_to_a_stranger_nothing_of_an_organisation_exists(theirs: dict[str, str]) -> None:
    other = make_environment("other")
    events = AuditEvent.objects.count()
    strangers = {"session": with_session(other), "key": with_key(other, "owner")}
    made = AuditEvent.objects.count() - events
    leaks = []
    for method, template in scoped_routes():
        for kind, stranger in strangers.items():
            answer = ask(stranger, method, template, theirs)
            if answer.status != 404 or theirs["org"] not in answer.body["detail"]:
                leaks.append(f"{method} {template} by {kind}: {answer.status} {answer.body}")
    assert leaks == []
    assert AuditEvent.objects.count() == events + made


def test_a_strangers_own_address_does_not_reach_another_organisations_rows(theirs: dict[str, str]) -> None:
    other = make_environment("other")
    stranger = with_session(other)
    leaks = []
    for method, template in scoped_routes():
        # Jobs are the services', which know them by environment.
        named = set(re.findall(r"\{(\w+)\}", template)) - {"org", "project", "environment", "job"}
        makes = method == "PUT" and template.endswith("/dashboards/{dashboard}")  # one of the stranger's own
        if named and not makes:
            answer = ask(stranger, method, template, theirs | {"org": "other"})
            if answer.status != 404:
                leaks.append(f"{method} {template}: {answer.status} {answer.body}")
    assert leaks == []


def test_saving_under_a_name_that_another_organization_has_makes_one_of_ones_own(
    environment: Environment, theirs: dict[str, str]
) -> None:
    path = "/projects/air/environments/dev/dashboards/{dashboard}".format_map(theirs)
    before = with_session(environment).get(f"/organizations/{theirs['org']}{path}").body
    body = {"spec": {"title": "Another", "tiles": []}}
    made = with_session(make_environment("other"))("PUT", f"/organizations/other{path}", body)
    assert (made.status, made.body["spec"]["title"]) == (200, "Another")
    assert made.body["id"] != before["id"]
    assert with_session(environment).get(f"/organizations/{theirs['org']}{path}").body == before


def test_an_owner_reads_every_route_that_the_strangers_did_not(
    environment: Environment, theirs: dict[str, str]
) -> None:
    api = with_session(environment)
    # What the services would have to be asked for is tested with them.
    elsewhere = ("/quarantine", "/queries/slow", "/jobs", "/jobs/{job}", "/report", "/report.html", "/report.png")
    answers = {
        template: ask(api, "GET", template, theirs).status
        for method, template in scoped_routes()
        if method == "GET" and not template.endswith(elsewhere)
    }
    assert set(answers.values()) == {200}


def test_a_key_sees_its_own_environment_alone(environment: Environment, theirs: dict[str, str]) -> None:
    with_session(environment).post(f"/organizations/{theirs['org']}/projects/air/environments", {"key": "prod"})
    key = with_key(environment, "owner")
    path = f"/organizations/{theirs['org']}/projects/air/environments"
    assert [item["key"] for item in key.get(path).body["items"]] == ["dev"]
    assert key.get(f"{path}/prod/endpoints").status == 404
    assert key.post("/apply", {"project": "air", "environment": "prod", "resources": {}}).status == 404


def test_an_apply_to_another_organisation_is_not_found(theirs: dict[str, str]) -> None:
    stranger = with_session(make_environment("other"))
    body = {"organization": theirs["org"], "project": "air", "environment": "dev", "resources": {}}
    assert stranger.post("/apply", body).status == 404
