"""Groups: people and programs who are given roles, and named by policies, together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.access.groups import add_to_group, create_group, remove_from_group
from headwater.control.access.models import Grant, Group, GroupMember, ServiceAccount
from headwater.control.console.forms import ConsoleForm, LongSelect, ReasonForm, perform, submit
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

    principal = forms.ChoiceField(label="Who", widget=LongSelect)

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
    """List the groups with how many are in them and what they give."""
    rows = Group.objects.for_org(here.org).annotate(size=Count("members"))
    table = keyset(rows, request, by="name")
    given = _given(here, table.rows)
    return render_tab(
        here, "team-groups", "groups", table=table, toolbar="console/pages/team/group_toolbar.html",
        lines=[(row, given[row.pk]) for row in table.rows],
    )  # fmt: skip


def _given(here: Place, groups: Sequence[Group]) -> Mapping[Any, list[str]]:
    """Return what each group gives, in words."""
    found: defaultdict[Any, list[str]] = defaultdict(list)
    grants = Grant.objects.for_org(here.org).filter(group__in=[row.pk for row in groups], revoked_at=None)
    for item in grants.select_related("role", "org", "project", "environment__project"):
        found[item.group_id].append(f"{item.role} on {item.scope}")
    return found


@page("team/groups/new/", name="team-group-new", permission="member.write", whole=True, section="team", methods=FORM)
def new_group(request: HttpRequest, here: Place) -> HttpResponse:
    """Make a group."""
    form = GroupForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        made = create_group(actor=here.actor, org=here.org, **values)
        return f"The group {made} is there. Put people in and grant it a role."

    return _form(request, here, form, run, title="New group", text="Create group")


@page("team/groups/<slug:group>/", name="team-group", permission="member.read", whole=True, section="team")
def group_page(request: HttpRequest, here: Place, group: str) -> HttpResponse:
    """Show who is in a group and what it gives."""
    row = _find(here, group)
    places = GroupMember.objects.for_org(here.org).filter(group=row)
    table = keyset(places.select_related("membership__user", "service_account"), request, by="created_at")
    return here.render(
        "console/pages/team/group.html", title=row.name, lead=row.description, group=row, table=table,
        given=_given(here, [row])[row.pk], may_write=here.may("member.write", here.org),
        back=here.url("team-groups"), back_title="Groups", toolbar="console/pages/team/one_group_toolbar.html",
    )  # fmt: skip


@page("team/groups/<slug:group>/add/", name="team-group-add", permission="member.write", whole=True, section="team",
      methods=FORM)  # fmt: skip
def add(request: HttpRequest, here: Place, group: str) -> HttpResponse:
    """Put somebody into a group."""
    row = _find(here, group)
    form = AddForm(here, request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        add_to_group(actor=here.actor, group=row, reason=values["reason"], **form.principals[values["principal"]])
        return f"They are in {row} now."

    page_of = here.url("team-group", row.public_id)
    return _form(request, here, form, run, title=f"Add to {row.name}", text="Add", back=page_of, back_title=row.name)


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

    return perform(request, run, back=here.url("team-group", row.group.public_id))


def _find(here: Place, group: str) -> Group:
    row: Group | None = Group.objects.for_org(here.org).filter(pk=Group.parse_id(group)).select_related("org").first()
    if row is None:
        raise Http404
    return row


def _form(
    request: HttpRequest, here: Place, form: forms.Form, run: Any, *, title: str, text: str, back: str = "",
    back_title: str = "Groups",
) -> HttpResponse:  # fmt: skip
    back = back or here.url("team-groups")
    reply = submit(request, form, run, back=back) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title=title, form=form, submit=text, back=back, back_title=back_title
    )
