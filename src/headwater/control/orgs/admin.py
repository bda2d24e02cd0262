"""Organisations, projects, environments and members in the admin."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Prefetch, Q, prefetch_related_objects
from django.http import HttpRequest, HttpResponse

from headwater.control.access.members import activate_member, change_role, invite_member, suspend_member
from headwater.control.access.models import Grant, Role
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button, operating
from headwater.control.orgs.actions import (
    change_protection,
    create_environment,
    create_organization,
    create_project,
    reactivate_organization,
    rename_organization,
    rename_project,
    suspend_organization,
)
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import SLUG


class SlugForm(ActionForm):
    """A slug and a name."""

    slug = forms.RegexField(SLUG, help_text="Lower-case letters, digits, hyphens and underscores; it never changes.")
    name = forms.CharField(max_length=200, required=False)


class NameForm(ActionForm):
    """Another name."""

    name = forms.CharField(max_length=200)


class ProjectForm(SlugForm):
    """A project of an organisation."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    field_order = ("organization", "slug", "name")


class EnvironmentForm(ActionForm):
    """An environment of a project."""

    project = forms.ModelChoiceField(Project.unscoped.all())
    key = forms.RegexField(SLUG, help_text="For instance production; it never changes.")
    protected = forms.BooleanField(
        required=False, help_text="Protected environments serve approved model versions only."
    )


class InviteForm(ActionForm):
    """Somebody and the role they get."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    email = forms.EmailField()
    role = forms.ModelChoiceField(Role.standing.all())


class RoleForm(ActionForm):
    """Another role."""

    role = forms.ModelChoiceField(Role.standing.all())
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)


@admin.register(Organization)
class OrganizationAdmin(ConsoleModelAdmin):
    """Tenants."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("slug", "name", "status", "created_at")
    search_fields = ("slug", "name")
    actions_list = ("create",)
    actions_detail = ("rename", "suspend", "reactivate")

    def belongs_to(self, orgs: list[uuid.UUID]) -> Q:
        """Return the organisations themselves."""
        return Q(pk__in=orgs)

    @button("New organisation", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make an organisation."""

        def run(values: dict[str, Any]) -> str:
            org = create_organization(actor=operating(request), slug=values["slug"], name=values["name"])
            return f"{org} was made."

        form = SlugForm(request.POST or None)
        return self.act(
            request, run, title="New organisation", submit="Create", back=self.link("changelist"), form=form
        )

    @button("Rename", path="rename", icon="edit")
    def rename(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change an organisation's name."""
        org = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            rename_organization(actor=acting(request), org=org, name=values["name"])
            return f"It is called {org.name} now."

        return self.act(
            request, run, title=f"Rename {org}", submit="Rename", back=self.link("change", object_id),
            explanation="Its slug stays, and with it every address.", original=org,
            form=NameForm(request.POST or None, initial={"name": org.name}),
        )  # fmt: skip

    @button("Suspend", path="suspend", icon="block")
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Stop serving an organisation."""
        org = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            suspend_organization(actor=operating(request), org=org, reason=values["reason"])
            return f"{org} is suspended."

        return self.act(
            request, run, title=f"Suspend {org}", submit="Suspend", back=self.link("change", object_id), danger=True,
            explanation="Within a second none of its keys opens anything. Its data stays.", original=org,
        )  # fmt: skip

    @button("Reactivate", path="reactivate", icon="check")
    def reactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Serve an organisation again."""
        org = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            reactivate_organization(actor=operating(request), org=org, reason=values["reason"])
            return f"{org} is served again."

        return self.act(
            request, run, title=f"Reactivate {org}", submit="Reactivate", back=self.link("change", object_id),
            original=org,
        )  # fmt: skip


@admin.register(Project)
class ProjectAdmin(ConsoleModelAdmin):
    """Projects."""

    view_permission: ClassVar[str | None] = "dataset.read"
    list_display = ("slug", "name", "org", "created_at")
    list_select_related = ("org",)
    search_fields = ("slug", "name")
    actions_list = ("create",)
    actions_detail = ("rename",)

    @button("New project", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make a project."""

        def run(values: dict[str, Any]) -> str:
            project = create_project(
                actor=acting(request), org=values["organization"], slug=values["slug"], name=values["name"]
            )
            return f"{project} was made."

        form = ProjectForm(request.POST or None).offered_to(request, "organization.write")
        return self.act(request, run, title="New project", submit="Create", back=self.link("changelist"), form=form)

    @button("Rename", path="rename", icon="edit")
    def rename(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change a project's name."""
        project = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            rename_project(actor=acting(request), project=project, name=values["name"])
            return f"It is called {project.name} now."

        return self.act(
            request, run, title=f"Rename {project}", submit="Rename", back=self.link("change", object_id),
            explanation="Its slug stays, and with it every address.", original=project,
            form=NameForm(request.POST or None, initial={"name": project.name}),
        )  # fmt: skip


@admin.register(Environment)
class EnvironmentAdmin(ConsoleModelAdmin):
    """Environments."""

    view_permission: ClassVar[str | None] = "dataset.read"
    list_display = ("key", "project", "org", "protected", "identifier")
    list_select_related = ("project", "org")
    actions_list = ("create",)
    actions_detail = ("protection",)

    @admin.display(description="identifier")
    def identifier(self, row: Environment) -> str:
        """Return the id that streams and snapshots carry."""
        return row.public_id

    @button("New environment", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make an environment."""

        def run(values: dict[str, Any]) -> str:
            environment = create_environment(
                actor=acting(request), project=values["project"], key=values["key"], protected=values["protected"]
            )
            return f"{environment} was made."

        form = EnvironmentForm(request.POST or None).offered_to(request, "organization.write")
        return self.act(request, run, title="New environment", submit="Create", back=self.link("changelist"), form=form)

    @button("Protection", path="protection", icon="shield")
    def protection(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Protect an environment, or cease to."""
        environment = self.row(request, object_id)
        protected = not environment.protected

        def run(values: dict[str, Any]) -> str:
            change_protection(
                actor=acting(request), environment=environment, protected=protected, reason=values["reason"]
            )
            return f"{environment} is {'protected' if protected else 'not protected any more'}."

        return self.act(
            request, run, title=f"{'Protect' if protected else 'Cease to protect'} {environment}",
            submit="Protect" if protected else "Cease to protect", back=self.link("change", object_id),
            explanation="Protected environments serve approved model versions only.", danger=not protected,
            original=environment,
        )  # fmt: skip


@admin.register(Membership)
class MembershipAdmin(ConsoleModelAdmin):
    """Members of organisations."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("user", "org", "status", "roles", "created_at")
    list_select_related = ("user", "org")
    list_filter = ("status",)
    search_fields = ("user__email",)
    actions_list = ("invite",)
    actions_detail = ("role", "suspend", "activate")

    @admin.display(description="roles")
    def roles(self, row: Membership) -> str:
        """Return the roles that live grants give."""
        return ", ".join(sorted({grant.role.name for grant in row.grants.all() if grant.revoked_at is None})) or "none"

    def fill(self, rows: list[Any]) -> None:
        """Fetch the grants."""
        live = Grant.unscoped.filter(revoked_at=None).select_related("role")
        prefetch_related_objects(rows, Prefetch("grants", live))

    @button("Invite member", path="invite", icon="person_add")
    def invite(self, request: HttpRequest) -> HttpResponse:
        """Invite somebody who has an account."""

        def run(values: dict[str, Any]) -> str:
            user = get_user_model().objects.filter(email=values["email"].lower()).first()
            if user is None:
                raise HeadwaterError("not_found", f"nobody has the address {values['email']}", hint="make a user first")
            invite_member(actor=acting(request), org=values["organization"], user=user, role=values["role"])
            return f"{user.email} was invited."

        form = InviteForm(request.POST or None).offered_to(request, "member.write")
        return self.act(request, run, title="Invite member", submit="Invite", back=self.link("changelist"), form=form)

    @button("Change role", path="role", icon="badge")
    def role(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give a member another role."""
        member = self.row(request, object_id)

        def run(values: dict[str, Any]) -> None:
            change_role(actor=acting(request), membership=member, role=values["role"], reason=values["reason"])

        form = RoleForm(request.POST or None).offered_to(request, "member.write")
        return self.act(
            request, run, title=f"Change the role of {member.user}", submit="Change role",
            back=self.link("change", object_id), form=form, original=member,
        )  # fmt: skip

    @button("Suspend", path="suspend", icon="block")
    def suspend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a member act no more."""
        member = self.row(request, object_id)
        return self.act(
            request,
            lambda values: _done(suspend_member(actor=acting(request), membership=member, reason=values["reason"])),
            title=f"Suspend {member.user}", submit="Suspend", back=self.link("change", object_id), danger=True,
            explanation="Their own keys and sessions can do nothing here until they are activated again.",
            original=member,
        )  # fmt: skip

    @button("Activate", path="activate", icon="check")
    def activate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a member act."""
        member = self.row(request, object_id)
        return self.act(
            request,
            lambda values: _done(activate_member(actor=acting(request), membership=member, reason=values["reason"])),
            title=f"Activate {member.user}", submit="Activate", back=self.link("change", object_id), original=member,
        )  # fmt: skip


def _done(member: Membership) -> str:
    return f"{member.user} is {member.status}."
