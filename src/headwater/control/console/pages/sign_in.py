"""How an organisation's people sign in: second factors, domains, single sign-on."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.access.models import Role
from headwater.control.access.queries import roles_of
from headwater.control.console.forms import ConsoleForm, perform, submit
from headwater.control.console.pages import FORM, page
from headwater.control.console.place import Place
from headwater.control.sso.actions import (
    change_enforcement,
    change_joining,
    change_policy,
    change_provider,
    claim_domain,
    create_provider,
    recheck_domain,
    remove_domain,
    remove_provider,
    verify_domain,
)
from headwater.control.sso.models import Domain, IdentityProvider, SignInPolicy

_NEED = "organization.write"


class DomainForm(ConsoleForm):
    """A domain to claim."""

    name = forms.CharField(label="Domain", max_length=253, help_text="The part of your addresses behind the @.")


class ProviderForm(ConsoleForm):
    """The OpenID Connect issuer of the organisation."""

    name = forms.CharField(max_length=100, help_text="Shown on the sign-in page.")
    issuer = forms.URLField(
        label="Issuer", max_length=500, assume_scheme="https", help_text="Such as https://login.example.org"
    )
    client_id = forms.CharField(label="Client ID", max_length=255)
    client_secret = forms.CharField(
        label="Client secret", max_length=500, widget=forms.PasswordInput(attrs={"autocomplete": "off"})
    )
    default_role = forms.ChoiceField(label="Role of new members")

    def __init__(self, here: Place, data: Any = None) -> None:
        """Offer the roles."""
        super().__init__(data)
        self.roles: dict[str, Role] = roles_of(here.org)
        self.fields["default_role"].choices = [(name, name) for name in self.roles]  # type: ignore[attr-defined]
        self.fields["default_role"].initial = "analyst"


@page("settings/sign-in/", name="sign-in", permission=_NEED, whole=True, section="settings")
def sign_in(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show how people sign in."""
    policy = SignInPolicy.objects.for_org(here.org).first()
    return here.render(
        "console/pages/settings/sign_in.html", title="Sign-in", back=here.url("settings"), back_title="Settings",
        domains=list(Domain.objects.for_org(here.org)), mfa=bool(policy and policy.mfa_required),
        provider=IdentityProvider.objects.for_org(here.org).select_related("default_role").first(),
        lead=f"How people of {here.org.name} prove who they are.",
    )  # fmt: skip


@page("settings/sign-in/domains/new/", name="domain-new", permission=_NEED, whole=True, section="settings",
      methods=FORM)  # fmt: skip
def new_domain(request: HttpRequest, here: Place) -> HttpResponse:
    """Claim a domain."""
    form = DomainForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        domain = claim_domain(actor=here.actor, org=here.org, name=values["name"])
        return f"{domain} is claimed. Add the TXT record to its zone, then verify it."

    return _form(request, here, form, run, title="Claim a domain", text="Claim")


@page("settings/sign-in/domains/<slug:domain>/<slug:verb>/", name="domain", permission=_NEED, whole=True,
      section="settings", methods=("POST",))  # fmt: skip
def change_domain(request: HttpRequest, here: Place, domain: str, verb: str) -> HttpResponse:
    """Verify a domain, let its people join, or give it up."""
    row = Domain.objects.for_org(here.org).filter(pk=Domain.parse_id(domain)).select_related("org").first()
    if row is None or verb not in ("verify", "check", "join", "close", "remove"):
        raise Http404

    def run(values: dict[str, Any]) -> str:
        if verb == "verify":
            verify_domain(actor=here.actor, domain=row)
            return f"{row.name} is yours."
        if verb == "check":
            recheck_domain(actor=here.actor, domain=row)
            if row.verified_at is None:
                return f"The record of {row.name} has been gone for a week: the domain counts no more."
            return f"The record of {row.name} is {'not there' if row.missing_since else 'there'}."
        if verb == "remove":
            remove_domain(actor=here.actor, domain=row, reason=values["reason"])
            return f"{row.name} was given up."
        role = roles_of(here.org)["analyst"] if verb == "join" and row.default_role is None else None
        change_joining(actor=here.actor, domain=row, auto_join=verb == "join", role=role)
        return f"People of {row.name} {'may join by themselves' if verb == 'join' else 'have to be invited'} now."

    return perform(request, run, back=here.url("sign-in"))


@page("settings/sign-in/provider/new/", name="provider-new", permission=_NEED, whole=True, section="settings",
      methods=FORM)  # fmt: skip
def new_provider(request: HttpRequest, here: Place) -> HttpResponse:
    """Connect an identity provider."""
    form = ProviderForm(here, request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        role = form.roles[values.pop("default_role")]
        made = create_provider(actor=here.actor, org=here.org, default_role=role, **values)
        return f"{made} is connected. Sign in through it once before you enforce it."

    return _form(request, here, form, run, title="Connect single sign-on", text="Connect")


@page("settings/sign-in/provider/<slug:verb>/", name="provider", permission=_NEED, whole=True, section="settings",
      methods=("POST",))  # fmt: skip
def change_sso(request: HttpRequest, here: Place, verb: str) -> HttpResponse:
    """Enforce the identity provider or cease to, switch it on or off, forget it."""
    row = IdentityProvider.objects.for_org(here.org).select_related("org", "default_role").first()
    if row is None or verb not in ("enforce", "relax", "enable", "disable", "remove"):
        raise Http404

    def run(values: dict[str, Any]) -> str:
        if verb in ("enforce", "relax"):
            change_enforcement(actor=here.actor, provider=row, enforced=verb == "enforce", reason=values["reason"])
            return f"{row.name} is the only way in." if row.enforced else "Passwords open again, too."
        if verb == "remove":
            remove_provider(actor=here.actor, provider=row, reason=values["reason"])
            return f"{row.name} was forgotten."
        change_provider(actor=here.actor, provider=row, enabled=verb == "enable")
        return f"{row.name} is switched {'on' if row.enabled else 'off'}."

    return perform(request, run, back=here.url("sign-in"))


@page("settings/sign-in/factors/<slug:verb>/", name="factors", permission=_NEED, whole=True, section="settings",
      methods=("POST",))  # fmt: skip
def factors(request: HttpRequest, here: Place, verb: str) -> HttpResponse:
    """Ask members for a second factor, or no longer."""
    if verb not in ("require", "relax"):
        raise Http404

    def run(values: dict[str, Any]) -> str:
        change_policy(actor=here.actor, org=here.org, mfa_required=verb == "require", reason=values["reason"])
        return "Members need a second factor now." if verb == "require" else "A second factor is up to each member now."

    return perform(request, run, back=here.url("sign-in"))


def _form(request: HttpRequest, here: Place, form: forms.Form, run: Any, *, title: str, text: str) -> HttpResponse:
    back = here.url("sign-in")
    reply = submit(request, form, run, back=back) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title=title, form=form, submit=text, back=back, back_title="Sign-in"
    )
