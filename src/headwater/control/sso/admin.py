"""Domains, identity providers, recovery owners and sign-in policies in the admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from headwater.control.access.models import Role
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button
from headwater.control.orgs.models import Membership, Organization
from headwater.control.sso import actions
from headwater.control.sso.models import Domain, IdentityProvider, RecoveryOwner, SignInPolicy

WRITE = "organization.write"


class DomainForm(ActionForm):
    """A domain to be claimed."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    name = forms.CharField(max_length=253, help_text="For instance example.org; subdomains are claimed one by one.")


class JoiningForm(ActionForm):
    """Who may join by themselves."""

    auto_join = forms.BooleanField(required=False, label="Whoever proves an address here may join")
    role = forms.ModelChoiceField(Role.standing.all(), required=False, help_text="What they get.")


class ProviderForm(ActionForm):
    """An issuer to be connected."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    name = forms.CharField(max_length=100, help_text="Shown on the sign-in page.")
    issuer = forms.CharField(max_length=500, help_text="https://…, exactly as the issuer calls itself.")
    client_id = forms.CharField(max_length=255)
    client_secret = forms.CharField(max_length=500, widget=forms.PasswordInput, help_text="Kept encrypted.")
    default_role = forms.ModelChoiceField(Role.standing.all(), help_text="What people get who come in first this way.")


class ProviderChangeForm(ActionForm):
    """What may be changed."""

    name = forms.CharField(max_length=100)
    client_id = forms.CharField(max_length=255)
    client_secret = forms.CharField(
        max_length=500, widget=forms.PasswordInput, required=False, help_text="Empty: stays as it is."
    )
    enabled = forms.BooleanField(required=False)


class RecoveryForm(ActionForm):
    """An owner to be kept."""

    member = forms.ModelChoiceField(Membership.unscoped.select_related("user", "org"))
    reason = forms.CharField(max_length=500, widget=forms.Textarea)


class PolicyForm(ActionForm):
    """What to ask of members."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    mfa_required = forms.BooleanField(required=False, label="Every member needs a second factor")
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)


@admin.register(Domain)
class DomainAdmin(ConsoleModelAdmin):
    """Domains."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("name", "org", "verified_at", "missing_since", "auto_join", "default_role")
    list_select_related = ("org", "default_role")
    search_fields = ("name",)
    readonly_fields = ("record_name", "record_value", "verified_at", "checked_at", "missing_since", "created_at")
    actions_list = ("claim",)
    actions_detail = ("verify", "joining", "give_up")

    @button("Claim domain", path="claim", icon="add")
    def claim(self, request: HttpRequest) -> HttpResponse:
        """Claim a domain."""

        def run(values: dict[str, Any]) -> str:
            made = actions.claim_domain(actor=acting(request), org=values["organization"], name=values["name"])
            return f"Add a TXT record called {made.record_name} with the text {made.record_value}, then verify {made}."

        form = DomainForm(request.POST or None).offered_to(request, WRITE)
        return self.act(request, run, title="Claim a domain", submit="Claim", back=self.link("changelist"), form=form)

    @button("Verify", path="verify", icon="verified")
    def verify(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Look for the record now."""
        domain = self.row(request, object_id)

        def run(_values: dict[str, Any]) -> str:
            verify = actions.verify_domain if domain.verified_at is None else actions.recheck_domain
            verify(actor=acting(request), domain=domain)
            return f"{domain} is verified." if not domain.missing_since else f"The record of {domain} is not there."

        return self.act(
            request, run, title=f"Verify {domain}", submit="Look for the record", back=self.link("change", object_id),
            form=ActionForm(request.POST or None), original=domain,
            explanation=f"The TXT record {domain.record_name} must read {domain.record_value}.",
        )  # fmt: skip

    @button("Joining", path="joining", icon="group_add")
    def joining(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let people of the domain join by themselves, or no longer."""
        domain = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            actions.change_joining(
                actor=acting(request), domain=domain, auto_join=values["auto_join"], role=values["role"]
            )
            return f"People of {domain} {'may' if domain.auto_join else 'may not'} join by themselves."

        given = {"auto_join": domain.auto_join, "role": domain.default_role}
        form = JoiningForm(request.POST or None, initial=given).offered_to(request, WRITE)
        return self.act(
            request, run, title=f"Who of {domain} may join", submit="Save", back=self.link("change", object_id),
            form=form, original=domain,
        )  # fmt: skip

    @button("Give up", path="remove", icon="delete")
    def give_up(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give a domain up."""
        domain = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            actions.remove_domain(actor=acting(request), domain=domain, reason=values["reason"])
            return f"{domain} is given up."

        return self.act(
            request, run, title=f"Give {domain} up", submit="Give up", back=self.link("changelist"), danger=True,
            explanation="Its addresses no longer come in through the identity provider.", original=domain,
        )  # fmt: skip


@admin.register(IdentityProvider)
class IdentityProviderAdmin(ConsoleModelAdmin):
    """Identity providers."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("name", "org", "issuer", "enabled", "enforced", "used_at")
    list_select_related = ("org",)
    search_fields = ("name", "issuer")
    readonly_fields = ("public_id", "used_at", "created_at")
    actions_list = ("connect",)
    actions_detail = ("edit", "enforcement", "forget")

    @button("Connect provider", path="connect", icon="add")
    def connect(self, request: HttpRequest) -> HttpResponse:
        """Connect an issuer."""

        def run(values: dict[str, Any]) -> str:
            fields = {name: value for name, value in values.items() if name != "organization"}
            made = actions.create_provider(actor=acting(request), org=values["organization"], **fields)
            return f"Register /accounts/oidc/{made.public_id}/login/callback/ at {made} as the redirect URI."

        form = ProviderForm(request.POST or None).offered_to(request, WRITE)
        return self.act(
            request, run, title="Connect an identity provider", submit="Connect", back=self.link("changelist"),
            form=form, explanation="The issuer is asked now who it is.",
        )  # fmt: skip

    @button("Edit", path="edit", icon="edit")
    def edit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change a provider."""
        provider = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            actions.change_provider(actor=acting(request), provider=provider, **values)
            return f"{provider} is changed."

        given = {name: getattr(provider, name) for name in ("name", "client_id", "enabled")}
        form = ProviderChangeForm(request.POST or None, initial=given)
        return self.act(
            request, run, title=f"Change {provider}", submit="Save", back=self.link("change", object_id), form=form,
            original=provider,
        )  # fmt: skip

    @button("Enforcement", path="enforcement", icon="lock")
    def enforcement(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let addresses in through the provider alone, or cease to."""
        provider = self.row(request, object_id)
        enforced = not provider.enforced

        def run(values: dict[str, Any]) -> str:
            actions.change_enforcement(
                actor=acting(request), provider=provider, enforced=enforced, reason=values["reason"]
            )
            return f"{provider} is {'enforced' if enforced else 'not enforced any more'}."

        return self.act(
            request, run, title=f"{'Enforce' if enforced else 'Cease to enforce'} {provider}",
            submit="Enforce" if enforced else "Cease", back=self.link("change", object_id), danger=True,
            explanation="Sessions of the verified domains that came another way end at once." if enforced
            else "Passwords work again.", original=provider,
        )  # fmt: skip

    @button("Forget", path="remove", icon="delete")
    def forget(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Forget a provider."""
        provider = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            actions.remove_provider(actor=acting(request), provider=provider, reason=values["reason"])
            return f"{provider} is forgotten."

        return self.act(
            request, run, title=f"Forget {provider}", submit="Forget", back=self.link("changelist"), danger=True,
            explanation="Which of its accounts are whose is forgotten too; members stay.", original=provider,
        )  # fmt: skip


@admin.register(RecoveryOwner)
class RecoveryOwnerAdmin(ConsoleModelAdmin):
    """Owners kept for recovery."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("membership", "org", "created_at")
    list_select_related = ("membership__user", "membership__org", "org")
    actions_list = ("keep",)
    actions_detail = ("dismiss",)

    @button("Keep an owner", path="keep", icon="add")
    def keep(self, request: HttpRequest) -> HttpResponse:
        """Keep an owner for recovery."""

        def run(values: dict[str, Any]) -> str:
            made = actions.name_recovery_owner(
                actor=acting(request), membership=values["member"], reason=values["reason"]
            )
            return f"{made} may sign in with a password."

        form = RecoveryForm(request.POST or None).offered_to(request, WRITE)
        return self.act(
            request, run, title="Keep an owner for recovery", submit="Keep", back=self.link("changelist"), form=form,
            explanation="They may sign in with a password when the identity provider is away; each time is audited.",
        )  # fmt: skip

    @button("Dismiss", path="dismiss", icon="delete")
    def dismiss(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Keep an owner no longer."""
        kept = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            actions.dismiss_recovery_owner(actor=acting(request), recovery=kept, reason=values["reason"])
            return "Dismissed."

        return self.act(
            request, run, title=f"Dismiss {kept}", submit="Dismiss", back=self.link("changelist"), danger=True,
            original=kept,
        )  # fmt: skip


@admin.register(SignInPolicy)
class SignInPolicyAdmin(ConsoleModelAdmin):
    """What organisations ask of their members."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("org", "mfa_required", "created_at")
    list_select_related = ("org",)
    actions_list = ("ask",)

    @button("Second factor", path="ask", icon="phonelink_lock")
    def ask(self, request: HttpRequest) -> HttpResponse:
        """Ask members for a second factor, or no longer."""

        def run(values: dict[str, Any]) -> str:
            policy = actions.change_policy(
                actor=acting(request), org=values["organization"], mfa_required=values["mfa_required"],
                reason=values["reason"],
            )  # fmt: skip
            return f"{policy.org} {'asks' if policy.mfa_required else 'does not ask'} for a second factor."

        form = PolicyForm(request.POST or None).offered_to(request, WRITE)
        return self.act(
            request, run, title="Second factor", submit="Save", back=self.link("changelist"), form=form,
            explanation="Who has none sees nothing before they add one.",
        )  # fmt: skip
