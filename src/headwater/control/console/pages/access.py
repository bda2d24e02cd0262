"""Access: grants at every scope."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.access.actions import grant, revoke_grant
from headwater.control.access.models import Grant, Group, ServiceAccount
from headwater.control.access.queries import roles_of
from headwater.control.console.forms import LongSelect, ReasonForm, perform, submit
from headwater.control.console.pages import FORM, page
from headwater.control.console.pages.team import render_tab
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset
from headwater.control.orgs.models import Membership

MOST: Final = 1_000
"""People and programs offered in a form."""
LIFETIMES: Final = ((0, "Never"), (1, "A day"), (7, "A week"), (30, "A month"), (90, "Three months"))


@page("team/grants/", name="team-grants", permission="member.read", whole=True, section="team")
def grants(request: HttpRequest, here: Place) -> HttpResponse:
    """List the grants that stand, newest first."""
    rows = Grant.objects.for_org(here.org).filter(revoked_at=None)
    related = (
        "role",
        "org",
        "membership__user",
        "membership__org",
        "service_account",
        "group",
        "project",
        "environment__project",
    )
    table = keyset(rows.select_related(*related), request, by="created_at", descending=True)
    now = timezone.now()
    return render_tab(
        here, "team-grants", "grants", table=table, toolbar="console/pages/team/grant_toolbar.html",
        lines=[(row, _holder(row), "live" if row.is_live(now) else "expired") for row in table.rows],
    )  # fmt: skip


class GrantForm(ReasonForm):
    """Who gets which role, where, and for how long."""

    principal = forms.ChoiceField(label="To whom", widget=LongSelect)
    role = forms.ChoiceField()
    scope = forms.ChoiceField(label="Where")
    resource = forms.CharField(
        label="On one resource only", max_length=200, required=False,
        help_text="Kind and name, such as dataset:flights or endpoint:delays.",
    )  # fmt: skip
    lifetime = forms.TypedChoiceField(label="Ends after", choices=LIFETIMES, coerce=int)

    def __init__(self, here: Place, data: Any = None) -> None:
        """Offer the organisation's people, programs, roles and places."""
        super().__init__(data)
        members = Membership.objects.for_org(here.org).select_related("user", "org").order_by("user__email")[:MOST]
        accounts = ServiceAccount.objects.for_org(here.org).filter(disabled_at=None).select_related("project")[:MOST]
        groups = Group.objects.for_org(here.org)[:MOST]
        self.principals: dict[str, dict[str, Any]] = {
            **{row.public_id: {"membership": row} for row in members},
            **{row.public_id: {"service_account": row} for row in accounts},
            **{row.public_id: {"group": row} for row in groups},
        }
        projects = {item.project_id: item.project for item in here.environments}
        self.scopes: dict[str, Any] = {
            here.org.public_id: here.org,
            **{row.public_id: row for row in projects.values()},
            **{row.public_id: row for row in here.environments},
        }
        self.roles = roles_of(here.org)
        self._offer("principal", [
            ("People", [(row.public_id, row.user.email) for row in members]),
            ("Groups", [(row.public_id, row.name) for row in groups]),
            ("Service accounts", [(row.public_id, f"{row.name} ({row.project.slug})") for row in accounts]),
        ])  # fmt: skip
        self._offer("role", [(name, name) for name in self.roles])
        self._offer("scope", [
            (here.org.public_id, f"{here.org.name}, everything"),
            *((row.public_id, f"project {row.slug}") for row in projects.values()),
            *((row.public_id, f"environment {row}") for row in here.environments),
        ])  # fmt: skip
        self.order_fields(["principal", "role", "scope", "resource", "lifetime", "reason"])

    def _offer(self, name: str, choices: list[Any]) -> None:
        self.fields[name].choices = choices  # type: ignore[attr-defined]  # a choice field


@page(
    "team/grants/new/",
    name="team-grant-new",
    permission="member.write",
    whole=True,
    section="team",
    methods=FORM,
)
def new_grant(request: HttpRequest, here: Place) -> HttpResponse:
    """Give somebody a role."""
    form = GrantForm(here, request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        days = values["lifetime"]
        given = grant(
            actor=here.actor, scope=form.scopes[values["scope"]], role=form.roles[values["role"]],
            resource=values["resource"].strip(), reason=values["reason"],
            expires_at=timezone.now() + timedelta(days=days) if days else None, **form.principals[values["principal"]],
        )  # fmt: skip
        return f"{given.role} was granted on {given.scope}."

    reply = submit(request, form, run, back=here.url("team-grants")) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title="New grant", form=form, submit="Grant", back=here.url("team-grants"),
        back_title="Grants", lead="Nobody can give more than they hold themselves.",
    )  # fmt: skip


@page(
    "team/grants/<slug:given>/revoke/", name="team-grant-revoke", permission="member.write", whole=True,
    section="team", methods=("POST",),
)  # fmt: skip
def revoke(request: HttpRequest, here: Place, given: str) -> HttpResponse:
    """Take a grant back."""
    rows = Grant.objects.for_org(here.org).filter(pk=Grant.parse_id(given))
    row = rows.select_related("role", "org", "project", "environment__project").first()
    if row is None:
        raise Http404

    def run(values: dict[str, Any]) -> str:
        revoke_grant(actor=here.actor, given=row, reason=values["reason"])
        return f"The grant of {row.role} ended."

    return perform(request, run, back=here.url("team-grants"))


def _holder(row: Grant) -> str:
    return str(row.membership.user if row.membership else row.group or row.service_account)
