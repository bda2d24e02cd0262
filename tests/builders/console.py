"""An organisation with one of everything, and the address of every page of the console in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client
from django.urls import reverse
from tests.builders.control import make_account, make_key, make_member, make_user
from tests.builders.dashboards import BOARD
from tests.builders.flags import make_saved_flag
from tests.builders.onnx_models import linear
from tests.builders.policies import policy
from tests.builders.projects import DELAY_MODEL, RECENT, WORST, flights, resources

from headwater.control import configuration
from headwater.control.access.actions import grant
from headwater.control.access.groups import add_to_group, create_group
from headwater.control.access.models import Grant
from headwater.control.access.queries import get_role
from headwater.control.access.roles import create_role
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.apply import apply_project
from headwater.control.console.pages import PAGES, Page
from headwater.control.dashboards.actions import create_dashboard
from headwater.control.identity.invitations import invite
from headwater.control.identity.models import User
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.snapshots.models import SnapshotAck
from headwater.control.sso.actions import claim_domain
from headwater.core.dashboards import parse_board
from headwater.engines.blobs import open_blobs


def stock(environment: Environment, owner: Actor) -> dict[str, tuple[Any, ...]]:
    """Fill an environment; return the arguments of the pages that take any, by their names."""
    reverse("home")  # the addresses bring the pages with them
    sha256 = open_blobs(configuration.current()).put(linear([1.0, 2.0]))
    timed = flights(more="      - name: at\n        logicalType: timestamp\n")
    project = resources({"d": timed}, {"worst.sql": WORST}, {"m": (DELAY_MODEL, sha256)}, {"recent.yaml": RECENT})
    apply_project(actor=owner, environment=environment, resources=project)
    account = make_account(environment.project)
    key, _ = make_key(environment, account)
    org = environment.org
    member = make_member(org, "developer")
    group = create_group(actor=owner, org=org, name="analysts")
    place = add_to_group(actor=owner, group=group, membership=member)
    grant(actor=owner, scope=org, role=get_role("analyst"), group=group)
    ends = datetime.now(UTC) + timedelta(days=3)
    given: Grant = grant(
        actor=owner, scope=environment, role=get_role("operator"), membership=member, resource="dataset:flights",
        expires_at=ends, reason="for a while",
    )  # fmt: skip
    create_role(actor=owner, org=org, name="watcher", permissions=["dataset.read"])
    policy(environment, "open_to_all", row_filter="delay > 0")
    invitation, _ = invite(actor=owner, org=org, email="new@example.com", role=get_role("analyst"))
    domain = claim_domain(actor=owner, org=org, name="example.com")
    SnapshotAck.objects.create(node="node-1", environment=environment, number=1, applied_at=datetime.now(UTC))
    make_saved_flag(owner, environment.project)
    create_dashboard(actor=owner, environment=environment, name="delays", board=parse_board(BOARD))
    event = AuditEvent.objects.filter(org_id=org.pk).latest("n")
    return {
        **dict.fromkeys(("dataset", "dataset-quality", "dataset-rows"), ("flights",)),
        "dataset-verdict": ("flights", "replay"),
        "endpoint": ("worst",),
        "feature": ("recent",),
        **dict.fromkeys(("model", "model-rollback"), ("delay",)),
        **dict.fromkeys(("model-version", "model-approve", "model-promote", "model-alias"), ("delay", 1)),
        **dict.fromkeys(("key-revoke", "key-rotate"), (key.public_id,)),
        "team-role": (member.public_id,),
        "team-member": (member.public_id, "suspend"),
        "team-invitation": (invitation.public_id, "revoke"),
        "team-grant-revoke": (given.public_id,),
        **dict.fromkeys(("team-group", "team-group-add"), (group.public_id,)),
        "team-group-remove": (place.public_id,),
        **dict.fromkeys(("team-role-change", "team-role-remove"), ("watcher",)),
        **dict.fromkeys(("policies-on", "policy-new"), ("dataset", "flights")),
        **dict.fromkeys(("policy-change", "policy-move", "policy-archive"), ("open_to_all",)),
        "audit-event": (event.public_id,),
        "audit-export": ("csv",),
        "project-rename": (environment.project.public_id,),
        "account-switch": (account.public_id, "disable"),
        "environment-protection": (environment.public_id,),
        **dict.fromkeys(("flag", "flag-try", "flag-edit", "flag-toggle", "flag-archive"), ("new-home",)),
        **dict.fromkeys(
            ("dashboard", "dashboard-revisions", "dashboard-edit", "dashboard-archive", "dashboard-file"), ("delays",)
        ),
        "dashboard-revert": ("delays", 1),
        "dashboard-image": ("delays", "svg"),
        **dict.fromkeys(("dashboard-tile", "dashboard-live"), ("delays", "chart")),
        "domain": (domain.public_id, "remove"),
        "provider": ("remove",),
        "factors": ("require",),
    }


def address(environment: Environment, page: Page, arguments: dict[str, tuple[Any, ...]]) -> str:
    """Return where a page of the console lies in an environment."""
    org = environment.org.slug
    base = f"/o/{org}/-/" if page.whole else f"/o/{org}/{environment.project.slug}/{environment.key}/"
    parts = iter(arguments.get(page.name, ()))
    route = ""
    for piece in page.route.split("<"):
        head, found, tail = piece.partition(">")
        route += f"{next(parts)}{tail}" if found else head
    return base + route


def addresses(environment: Environment, arguments: dict[str, tuple[Any, ...]], method: str = "GET") -> dict[str, str]:
    """Return the addresses of the pages that answer to ``method``, by their names.

    Pages about something that ``stock`` does not make are left to the tests of their areas.
    """
    return {
        page.name: address(environment, page, arguments)
        for page in PAGES.values()
        if method in page.methods and ("<" not in page.route or page.name in arguments)
    }


def signed_in(user: User | None = None) -> Client:
    """Return the browser of somebody, of a stranger without a membership if nobody is named."""
    client = Client()
    client.force_login(user or make_user())
    return client
