"""Team: who belongs to the organisation, who is invited, and how that changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

from django import forms
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.access.members import activate_member, change_role, suspend_member
from headwater.control.access.models import Grant
from headwater.control.access.queries import roles_of
from headwater.control.console.forms import ConsoleForm, GivenReasonForm, ReasonForm, perform, submit
from headwater.control.console.pages import FORM, PAGES, Entry, page
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset
from headwater.control.identity import invitations
from headwater.control.identity.models import Invitation
from headwater.control.orgs.models import Membership
from headwater.core.errors import HeadwaterError

TABS: Final = (
    ("team", "Members"),
    ("team-invitations", "Invitations"),
    ("team-groups", "Groups"),
    ("team-grants", "Grants"),
    ("team-roles", "Roles"),
    ("team-explain", "Explain"),
)


def render_tab(here: Place, tab: str, template: str, **context: Any) -> HttpResponse:
    """Return one part of the team's pages."""
    return here.render(
        f"console/pages/team/{template}.html", title="Team & access", tabs=tabs_of(here, tab),
        may_write=here.may("member.write", here.org), lead="People and programs, and what they may do.", **context,
    )  # fmt: skip


def tabs_of(here: Place, tab: str) -> list[tuple[str, str, bool]]:
    """Return the parts of the team's pages with the one that is shown marked."""
    return [(title, here.url(name), name == tab) for name, title in TABS if name in PAGES]


class InviteForm(ConsoleForm):
    """Whom to invite, and as what."""

    email = forms.EmailField(label="E-mail address", max_length=254)
    role = forms.ChoiceField(help_text="In the whole organisation. Narrower grants can follow.")

    def __init__(self, here: Place, data: Any = None) -> None:
        """Offer the roles."""
        super().__init__(data)
        self.roles = roles_of(here.org)
        self.fields["role"].choices = [(name, name) for name in self.roles]  # type: ignore[attr-defined]
        self.fields["role"].initial = "analyst"


class RoleForm(ReasonForm):
    """Which role to give instead."""

    role = forms.ChoiceField()

    def __init__(self, here: Place, data: Any = None, initial: str = "") -> None:
        """Offer the roles."""
        super().__init__(data)
        self.roles = roles_of(here.org)
        self.fields["role"].choices = [(name, name) for name in self.roles]  # type: ignore[attr-defined]
        self.fields["role"].initial = initial
        self.order_fields(["role", "reason"])


@page(
    "team/", name="team", permission="member.read", whole=True,
    entry=Entry("Team & access", "team", "Organisation", order=10),
)  # fmt: skip
def members(request: HttpRequest, here: Place) -> HttpResponse:
    """List the members with their roles in the whole organisation."""
    rows = Membership.objects.for_org(here.org).select_related("user")
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(user__email__icontains=q)
    table = keyset(rows, request, by="created_at")
    roles = _roles(here, table.rows)
    return render_tab(
        here, "team", "members", table=table, q=q, lines=[(row, roles[row.pk]) for row in table.rows],
        toolbar="console/pages/team/toolbar.html",
    )  # fmt: skip


@page("team/invite/", name="team-invite", permission="member.write", whole=True, section="team", methods=FORM)
def invite(request: HttpRequest, here: Place) -> HttpResponse:
    """Invite somebody by mail."""
    form = InviteForm(here, request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        role = form.roles[values["role"]]
        invitation, token = invitations.invite(actor=here.actor, org=here.org, email=values["email"], role=role)
        return _send(invitation, token)

    back = here.url("team-invitations")
    reply = submit(request, form, run, back=back) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title="Invite a member", form=form, submit="Send invitation",
        back=here.url("team"), back_title="Team & access", lead="They get a link that works once, for a week.",
    )  # fmt: skip


@page("team/invitations/", name="team-invitations", permission="member.read", whole=True, section="team")
def pending(request: HttpRequest, here: Place) -> HttpResponse:
    """List the invitations, newest first."""
    rows = Invitation.objects.for_org(here.org).select_related("role")
    table = keyset(rows, request, by="created_at", descending=True)
    return render_tab(
        here, "team-invitations", "invitations", table=table, toolbar="console/pages/team/toolbar.html",
        lines=[(row, _invitation_state(row)) for row in table.rows],
    )  # fmt: skip


@page(
    "team/invitations/<slug:invitation>/<slug:verb>/", name="team-invitation", permission="member.write", whole=True,
    section="team", methods=("POST",),
)  # fmt: skip
def change_invitation(request: HttpRequest, here: Place, invitation: str, verb: str) -> HttpResponse:
    """Send an invitation again, or take it back."""
    key = Invitation.parse_id(invitation)
    row = Invitation.objects.for_org(here.org).filter(pk=key).select_related("role", "org").first()
    if row is None or verb not in ("renew", "revoke"):
        raise Http404

    def run(values: dict[str, Any]) -> str:
        if verb == "renew":
            return _send(*invitations.renew(actor=here.actor, invitation=row))
        invitations.revoke(actor=here.actor, invitation=row, reason=values["reason"])
        return f"The invitation of {row.email} opens nothing any more."

    return perform(request, run, back=here.url("team-invitations"))


@page(
    "team/members/<slug:member>/role/", name="team-role", permission="member.write", whole=True, section="team",
    methods=FORM,
)  # fmt: skip
def role(request: HttpRequest, here: Place, member: str) -> HttpResponse:
    """Give a member another role in the whole organisation."""
    row = _member(here, member)
    held = _roles(here, [row])[row.pk]
    form = RoleForm(here, request.POST if request.method == "POST" else None, initial=held[0] if held else "")

    def run(values: dict[str, Any]) -> str:
        change_role(actor=here.actor, membership=row, role=form.roles[values["role"]], reason=values["reason"])
        return f"{row.user.email} is {values['role']} now."

    reply = submit(request, form, run, back=here.url("team")) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title=f"Role of {row.user.email}", form=form, submit="Change role",
        back=here.url("team"), back_title="Team & access",
        lead="It takes the place of the role they have in the whole organisation; narrower grants stay.",
    )  # fmt: skip


@page(
    "team/members/<slug:member>/<slug:verb>/", name="team-member", permission="member.write", whole=True,
    section="team", methods=("POST",),
)  # fmt: skip
def change_member(request: HttpRequest, here: Place, member: str, verb: str) -> HttpResponse:
    """Suspend a member, or let them act again."""
    row = _member(here, member)
    acts: dict[str, Callable[..., Membership]] = {"suspend": suspend_member, "activate": activate_member}
    act = acts.get(verb)
    if act is None:
        raise Http404

    def run(values: dict[str, Any]) -> str:
        act(actor=here.actor, membership=row, reason=values["reason"])
        return f"{row.user.email} is {row.status}."

    form = GivenReasonForm(request.POST) if verb == "suspend" else ReasonForm(request.POST)
    return perform(request, run, back=here.url("team"), form=form)


def _member(here: Place, member: str) -> Membership:
    key = Membership.parse_id(member)
    row: Membership | None = Membership.objects.for_org(here.org).filter(pk=key).select_related("user", "org").first()
    if row is None:
        raise Http404
    return row


def _roles(here: Place, rows: list[Membership]) -> dict[Any, list[str]]:
    """Return the roles that members have in the whole organisation."""
    grants = Grant.objects.for_org(here.org).filter(
        membership__in=[row.pk for row in rows], revoked_at=None, project=None, environment=None
    )
    found: defaultdict[Any, list[str]] = defaultdict(list)
    for item in grants.select_related("role"):
        found[item.membership_id].append(item.role.name)
    return found


def _invitation_state(row: Invitation) -> str:
    return "expired" if row.status == Invitation.Status.PENDING and not row.is_open else str(row.status)


def _send(invitation: Invitation, token: str) -> str:
    """Mail an invitation; without mail it waits to be sent again, and the page says so."""
    try:
        invitations.send(invitation, token)
    except HeadwaterError as error:
        return f"{invitation.email} is invited, but the mail could not be sent: {error.detail}. Send it again later."
    return f"{invitation.email} is invited."
