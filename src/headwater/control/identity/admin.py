"""Users in the admin: superusers alone manage them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from headwater.control.access.models import Role
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button, operating
from headwater.control.identity.actions import (
    change_staff,
    create_user,
    deactivate_user,
    make_admin,
    reset_second_factor,
    set_password,
)
from headwater.control.identity.invitations import invite, renew, revoke, send
from headwater.control.identity.models import Invitation, User
from headwater.control.orgs.models import Organization
from headwater.core.errors import HeadwaterError


class UserForm(ActionForm):
    """A user."""

    email = forms.EmailField()
    name = forms.CharField(max_length=200, required=False)
    password = forms.CharField(
        widget=forms.PasswordInput, required=False, help_text="Empty: they cannot sign in until one is set."
    )
    is_admin = forms.BooleanField(required=False, label="Operates the platform", help_text="May do everything.")


class PasswordForm(ActionForm):
    """Another password."""

    password = forms.CharField(widget=forms.PasswordInput, help_text="At least 10 characters.")


class InvitationForm(ActionForm):
    """Somebody to be invited."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    email = forms.EmailField(help_text="With or without an account; the link in the mail makes one.")
    role = forms.ModelChoiceField(Role.standing.all())


@admin.register(User)
class UserAdmin(ConsoleModelAdmin):
    """People."""

    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    fields = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login", "created_at")
    readonly_fields = ("created_at",)
    actions_list = ("create",)
    actions_detail = ("password", "second_factor", "staff", "promote", "deactivate")

    @button("New user", path="new", icon="person_add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make a user."""

        def run(values: dict[str, Any]) -> str:
            user = create_user(
                actor=operating(request),
                email=values["email"],
                password=values["password"] or None,
                name=values["name"],
                is_admin=values["is_admin"],
            )
            return f"{user.email} was made; invite them to an organisation next."

        form = UserForm(request.POST or None)
        return self.act(request, run, title="New user", submit="Create", back=self.link("changelist"), form=form)

    @button("Set password", path="password", icon="password")
    def password(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give a user another password."""
        user = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            set_password(actor=operating(request), user=user, password=values["password"])
            return f"{user.email} has another password; their sessions have ended."

        form = PasswordForm(request.POST or None)
        return self.act(
            request, run, title=f"Set the password of {user.email}", submit="Set password",
            back=self.link("change", object_id), form=form, original=user,
        )  # fmt: skip

    @button("Reset second factor", path="second-factor", icon="phonelink_erase")
    def second_factor(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Help somebody who lost their phone."""
        user = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            reset_second_factor(actor=operating(request), user=user, reason=values["reason"])
            return f"{user.email} signs in without a second factor, until they add another."

        return self.act(
            request, run, title=f"Reset the second factor of {user.email}", submit="Reset", danger=True, original=user,
            back=self.link("change", object_id), explanation="Be sure that it is they who ask. Their sessions end.",
        )  # fmt: skip

    @button("Admin access", path="staff", icon="badge")
    def staff(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a user open the admin, or no longer."""
        user = self.row(request, object_id)
        opens = not user.is_staff

        def run(values: dict[str, Any]) -> str:
            change_staff(actor=operating(request), user=user, is_staff=opens, reason=values["reason"])
            return f"{user.email} {'may' if opens else 'may not'} open the admin."

        return self.act(
            request, run, title=f"{'Let' if opens else 'Keep'} {user.email} {'into' if opens else 'out of'} the admin",
            submit="Let in" if opens else "Keep out", back=self.link("change", object_id), original=user,
            explanation="What they see and do there follows from their roles in organisations.",
        )  # fmt: skip

    @button("Make administrator", path="promote", icon="shield_person")
    def promote(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a user operate the platform."""
        user = self.row(request, object_id)

        def run(_values: dict[str, Any]) -> str:
            make_admin(actor=operating(request), user=user)
            return f"{user.email} operates the platform."

        return self.act(
            request, run, title=f"Make {user.email} an administrator", submit="Make administrator",
            back=self.link("change", object_id), form=ActionForm(request.POST or None), original=user, danger=True,
            explanation="They will be able to do everything, in every organisation.",
        )  # fmt: skip

    @button("Deactivate", path="deactivate", icon="person_off")
    def deactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a user sign in no more."""
        user = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            if user.pk == request.user.pk:
                raise HeadwaterError("conflict", "you cannot deactivate yourself", hint="ask another administrator")
            deactivate_user(actor=operating(request), user=user, reason=values["reason"])
            return f"{user.email} can sign in no more."

        return self.act(
            request, run, title=f"Deactivate {user.email}", submit="Deactivate", back=self.link("change", object_id),
            explanation="They can sign in no more, and none of their keys opens anything.", danger=True, original=user,
        )  # fmt: skip


@admin.register(Invitation)
class InvitationAdmin(ConsoleModelAdmin):
    """Invitations."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("email", "org", "role", "status", "expires_at", "sent_at", "invited_by")
    list_select_related = ("org", "role")
    list_filter = ("status",)
    search_fields = ("email",)
    exclude = ("token_sha256",)
    actions_list = ("invite",)
    actions_detail = ("resend", "revoke")

    @button("Invite", path="invite", icon="person_add")
    def invite(self, request: HttpRequest) -> HttpResponse:
        """Invite somebody."""

        def run(values: dict[str, Any]) -> str:
            made, token = invite(
                actor=acting(request), org=values["organization"], email=values["email"], role=values["role"]
            )
            send(made, token)
            return f"{made.email} has been sent a link."

        form = InvitationForm(request.POST or None).offered_to(request, "member.write")
        return self.act(request, run, title="Invite", submit="Invite", back=self.link("changelist"), form=form)

    @button("Send again", path="resend", icon="forward_to_inbox")
    def resend(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Mail another link."""
        row = self.row(request, object_id)

        def run(_values: dict[str, Any]) -> str:
            send(*renew(actor=acting(request), invitation=row))
            return f"{row.email} has been sent another link."

        return self.act(
            request, run, title=f"Send {row.email} another link", submit="Send", back=self.link("change", object_id),
            form=ActionForm(request.POST or None), original=row, explanation="The link before opens nothing any more.",
        )  # fmt: skip

    @button("Revoke", path="revoke", icon="block")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take an invitation back."""
        row = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            revoke(actor=acting(request), invitation=row, reason=values["reason"])
            return f"The invitation of {row.email} is taken back."

        return self.act(
            request, run, title=f"Take the invitation of {row.email} back", submit="Revoke", danger=True, original=row,
            back=self.link("change", object_id),
        )  # fmt: skip
