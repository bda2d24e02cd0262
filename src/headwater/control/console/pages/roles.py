"""Roles: what each allows; an organisation's own can be made, changed and removed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.access.models import Role
from headwater.control.access.queries import roles_of
from headwater.control.access.roles import change_role_permissions, create_role, remove_role, uses_of
from headwater.control.console.forms import ConsoleForm, ReasonForm, submit
from headwater.control.console.pages import FORM, page
from headwater.control.console.pages.team import render_tab
from headwater.control.console.place import Place
from headwater.core.permissions import PERMISSIONS

_CHOICES = [(name, f"{name}: {text}") for name, text in sorted(PERMISSIONS.items())]


class NewRoleForm(ConsoleForm):
    """What a role of the organisation's own allows."""

    name = forms.SlugField(max_length=63, help_text="Lower-case letters, digits, hyphens and underscores. It stays.")
    permissions = forms.MultipleChoiceField(choices=_CHOICES, widget=forms.CheckboxSelectMultiple)


class PermissionsForm(ReasonForm):
    """What a role is to allow from now on."""

    permissions = forms.MultipleChoiceField(choices=_CHOICES, widget=forms.CheckboxSelectMultiple, required=False)
    field_order = ("permissions", "reason")


class RemoveForm(ReasonForm):
    """What takes the place of a role."""

    instead = forms.ChoiceField(label="Its holders get instead")
    field_order = ("instead", "reason")

    def __init__(self, here: Place, role: Role, data: Any = None, *, in_use: bool) -> None:
        """Offer the other roles."""
        super().__init__(data)
        self.roles = {name: one for name, one in roles_of(here.org).items() if one != role}
        field: Any = self.fields["instead"]
        field.choices = [("", "choose a role"), *((name, name) for name in self.roles)]
        if not in_use:
            del self.fields["instead"]


@page("team/roles/", name="team-roles", permission="member.read", whole=True, section="team")
def roles(request: HttpRequest, here: Place) -> HttpResponse:
    """List the roles with what each allows."""
    found = [(role, _allowed(role)) for role in roles_of(here.org).values()]
    return render_tab(here, "team-roles", "roles", lines=found, toolbar="console/pages/team/role_toolbar.html")


@page("team/roles/new/", name="team-role-new", permission="member.write", whole=True, section="team", methods=FORM)
def new_role(request: HttpRequest, here: Place) -> HttpResponse:
    """Make a role."""
    form = NewRoleForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        made = create_role(actor=here.actor, org=here.org, name=values["name"], permissions=values["permissions"])
        return f"The role {made} can be granted now."

    return _form(request, here, form, run, title="New role", text="Create role",
                 lead="A role holds no more than you do yourself.")  # fmt: skip


@page("team/roles/<slug:role>/change/", name="team-role-change", permission="member.write", whole=True,
      section="team", methods=FORM)  # fmt: skip
def change(request: HttpRequest, here: Place, role: str) -> HttpResponse:
    """Let a role allow something else."""
    row = _own(here, role)
    form = PermissionsForm(request.POST if request.method == "POST" else None, initial={"permissions": row.permissions})

    def run(values: dict[str, Any]) -> str:
        change_role_permissions(actor=here.actor, role=row, permissions=values["permissions"], reason=values["reason"])
        return f"{row} was changed for everybody who holds it."

    return _form(request, here, form, run, title=f"Change {row}", text="Change role",
                 lead="Everybody who holds the role feels it within a second.")  # fmt: skip


@page("team/roles/<slug:role>/remove/", name="team-role-remove", permission="member.write", whole=True,
      section="team", methods=FORM)  # fmt: skip
def remove(request: HttpRequest, here: Place, role: str) -> HttpResponse:
    """Let a role be given no more; while it is in use, another one takes its place."""
    row = _own(here, role)
    uses = uses_of(row)
    form = RemoveForm(here, row, request.POST if request.method == "POST" else None, in_use=bool(uses))

    def run(values: dict[str, Any]) -> str:
        instead = form.roles[values["instead"]] if values.get("instead") else None
        remove_role(actor=here.actor, role=row, instead=instead, reason=values["reason"])
        return f"The role {row} was removed."

    back = here.url("team-roles")
    reply = submit(request, form, run, back=back) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/remove_role.html", title=f"Remove {row}", form=form, uses=uses, back=back,
        back_title="Roles", lead="It can be granted no more. The audit log keeps what it allowed.",
    )  # fmt: skip


def _own(here: Place, name: str) -> Role:
    role = roles_of(here.org).get(name)
    if role is None or role.org_id is None:
        raise Http404
    return role


def _form(request: HttpRequest, here: Place, form: forms.Form, run: Any, **context: Any) -> HttpResponse:
    back = here.url("team-roles")
    reply = submit(request, form, run, back=back) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title=context["title"], form=form, submit=context["text"], back=back,
        back_title="Roles", lead=context["lead"],
    )  # fmt: skip


def _allowed(role: Role) -> list[tuple[str, list[str]]]:
    """Return what a role allows: the verbs by their object."""
    found: dict[str, list[str]] = {}
    for permission in sorted(role.permissions):
        kind, _, verb = permission.partition(".")
        found.setdefault(kind, []).append(verb)
    return sorted(found.items())
