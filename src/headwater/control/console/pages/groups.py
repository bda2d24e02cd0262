"""Groups: people and programs who are given roles, and named by policies, together."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.access.groups import add_to_group, create_group, remove_from_group
from headwater.control.access.models import Grant, Group, GroupMember, ServiceAccount
from headwater.control.console.forms import ConsoleForm, ReasonForm, perform, submit
from headwater.control.console.pages import FORM, page
from headwater.control.console.pages.access import MOST
from headwater.control.console.pages.team import render_tab
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset
from headwater.control.orgs.models import Membership, slug_validator


class GroupForm(ConsoleForm):
    """A new group."""

    name = forms.CharField(max_length=63, validators=[slug_validator], help_text="Policies know it by this name.")
    description = forms.CharField(max_length=500, required=False)


class AddForm(ReasonForm):
    """Who is to be in a group."""

    principal = forms.ChoiceField(label="Who")

    def __init__(self, here: Place, data: Any = None) -> None:
        """Offer the organisation's people and programs."""
        super().__init__(data)
        members = Membership.objects.for_org(here.org).select_related("user", "org").order_by("user__email")[:MOST]
        accounts = ServiceAccount.objects.for_org(here.org).filter(disabled_at=None).select_related("project")[:MOST]
        self.principals: dict[str, dict[str, Any]] = {
            **{row.public_id: {"membership": row} for row in members},
            **{row.public_id: {"service_account": row} for row in accounts},
        }
        people = [(row.public_id, row.user.email) for row in members]
        programs = [(row.public_id, f"{row.name} ({row.project.slug})") for row in accounts]
        self.fields["principal"].choices = [("People", people), ("Service accounts", programs)]  # type: ignore[attr-defined]
        self.order_fields(["principal", "reason"])


@page("team/groups/", name="team-groups", permission="member.read", whole=True, section="team")
def groups(request: HttpRequest, here: Place) -> HttpResponse:
    """List the groups with who is in them and what they give."""
    table = keyset(Group.objects.for_org(here.org), request, by="name")
    keys = [row.pk for row in table.rows]
    inside: defaultdict[Any, list[GroupMember]] = defaultdict(list)
    places = GroupMember.objects.for_org(here.org).filter(group__in=keys)
    for place in places.select_related("membership__user", "service_account"):
        inside[place.group_id].append(place)
    given: defaultdict[Any, list[str]] = defaultdict(list)
    grants = Grant.objects.for_org(here.org).filter(group__in=keys, revoked_at=None)
    for item in grants.select_related("role", "org", "project", "environment__project"):
        given[item.group_id].append(f"{item.role} on {item.scope}")
    return render_tab(
        here, "team-groups", "groups", table=table, toolbar="console/pages/team/group_toolbar.html",
        lines=[(row, inside[row.pk], given[row.pk]) for row in table.rows],
    )  # fmt: skip


@page("team/groups/new/", name="team-group-new", permission="member.write", whole=True, section="team", methods=FORM)
def new_group(request: HttpRequest, here: Place) -> HttpResponse:
    """Make a group."""
    form = GroupForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        made = create_group(actor=here.actor, org=here.org, **values)
        return f"The group {made} is there. Put people in and grant it a role."

    return _form(request, here, form, run, title="New group", text="Create group")


@page("team/groups/<slug:group>/add/", name="team-group-add", permission="member.write", whole=True, section="team",
      methods=FORM)  # fmt: skip
def add(request: HttpRequest, here: Place, group: str) -> HttpResponse:
    """Put somebody into a group."""
    row = Group.objects.for_org(here.org).filter(pk=Group.parse_id(group)).select_related("org").first()
    if row is None:
        raise Http404
    form = AddForm(here, request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        add_to_group(actor=here.actor, group=row, reason=values["reason"], **form.principals[values["principal"]])
        return f"They are in {row} now."

    return _form(request, here, form, run, title=f"Add to {row.name}", text="Add")


@page("team/groups/places/<slug:place>/remove/", name="team-group-remove", permission="member.write", whole=True,
      section="team", methods=("POST",))  # fmt: skip
def remove(request: HttpRequest, here: Place, place: str) -> HttpResponse:
    """Take somebody out of a group."""
    rows = GroupMember.objects.for_org(here.org).filter(pk=GroupMember.parse_id(place))
    row = rows.select_related("group__org", "membership__user", "service_account", "org").first()
    if row is None:
        raise Http404

    def run(values: dict[str, Any]) -> str:
        remove_from_group(actor=here.actor, place=row, reason=values["reason"])
        return f"They are in {row.group} no longer."

    return perform(request, run, back=here.url("team-groups"))


def _form(request: HttpRequest, here: Place, form: forms.Form, run: Any, *, title: str, text: str) -> HttpResponse:
    back = here.url("team-groups")
    reply = submit(request, form, run, back=back) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title=title, form=form, submit=text, back=back, back_title="Groups"
    )
