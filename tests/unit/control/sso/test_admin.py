from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.core import mail
from django.test import Client
from django.urls import reverse
from tests.builders.control import make_member, make_user
from tests.builders.sign_on import ISSUER, make_domain, make_provider

import headwater.control.urls
from headwater.control.access.queries import get_role
from headwater.control.identity.models import Invitation
from headwater.control.orgs.models import Environment
from headwater.control.sso import actions
from headwater.control.sso.models import Domain, IdentityProvider, RecoveryOwner, SignInPolicy

assert headwater.control.urls.urlpatterns, "the admin's pages are registered with the addresses"


@pytest.fixture
def operator(environment: Environment) -> Client:
    client = Client()
    client.force_login(make_user("root@example.org", is_admin=True))
    return client


def act(client: Client, page: str, *args: Any, **values: Any) -> Any:
    return client.post(reverse(f"admin:{page}", args=args), {"reason": "because", **values}, follow=True)


def test_tables_of_libraries_are_not_changed_behind_the_actions() -> None:
    for model in admin.site._registry:
        assert model.__module__.startswith("headwater."), model


def test_people_are_invited_from_the_admin(operator: Client, environment: Environment) -> None:
    values = {"organization": environment.org.pk, "email": "new@example.com", "role": get_role("analyst").pk}
    assert b"has been sent a link" in act(operator, "identity_invitation_invite", **values).content
    row = Invitation.unscoped.get()
    assert (
        row.token_sha256
        not in operator.get(reverse("admin:identity_invitation_change", args=[row.pk])).content.decode()
    )
    act(operator, "identity_invitation_resend", row.pk)
    assert len(mail.outbox) == 2
    act(operator, "identity_invitation_revoke", row.pk)
    assert Invitation.unscoped.get().status == "revoked"


def test_a_domain_is_claimed_verified_and_opened(
    operator: Client, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = act(operator, "sso_domain_claim", organization=environment.org.pk, name="example.com")
    row = Domain.unscoped.get()
    assert row.record_value in page.content.decode()
    monkeypatch.setattr(actions.verify_domain.__wrapped__, "__kwdefaults__", {"resolve": lambda _: [row.record_value]})  # type: ignore[attr-defined]
    act(operator, "sso_domain_verify", row.pk)
    act(operator, "sso_domain_joining", row.pk, auto_join="on", role=get_role("analyst").pk)
    assert Domain.unscoped.get().auto_join
    act(operator, "sso_domain_give_up", row.pk)
    assert not Domain.unscoped.exists()


def test_a_provider_is_connected_enforced_and_forgotten(
    operator: Client, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "discover", lambda _issuer: {})
    make_domain(environment.org)
    owner = make_member(environment.org, "owner")
    values = {"name": "Ours", "issuer": ISSUER, "client_id": "headwater", "client_secret": "hush-hush"}
    values |= {"organization": str(environment.org.pk), "default_role": str(get_role("analyst").pk)}
    page = act(operator, "sso_identityprovider_connect", **values)
    row = IdentityProvider.unscoped.get()
    assert f"/accounts/oidc/{row.public_id}/login/callback/" in page.content.decode()
    shown = operator.get(reverse("admin:sso_identityprovider_change", args=[row.pk])).content.decode()
    assert "hush-hush" not in shown
    assert row.sealed_secret not in shown
    assert b"nobody has signed in through" in act(operator, "sso_identityprovider_enforcement", row.pk).content
    act(operator, "sso_recoveryowner_keep", member=owner.pk)
    act(operator, "sso_identityprovider_enforcement", row.pk)
    assert IdentityProvider.unscoped.get().enforced
    act(operator, "sso_identityprovider_enforcement", row.pk)
    act(operator, "sso_identityprovider_edit", row.pk, name="Theirs", client_id="other", enabled="on")
    changed = IdentityProvider.unscoped.get()
    assert (changed.name, changed.client_id, changed.sealed_secret) == ("Theirs", "other", row.sealed_secret)
    act(operator, "sso_recoveryowner_dismiss", RecoveryOwner.unscoped.get().pk)
    act(operator, "sso_identityprovider_forget", row.pk)
    assert not IdentityProvider.unscoped.exists()


def test_a_second_factor_is_asked_for_from_the_admin(operator: Client, environment: Environment) -> None:
    act(operator, "sso_signinpolicy_ask", organization=environment.org.pk, mfa_required="on")
    assert SignInPolicy.unscoped.get().mfa_required


def test_staff_of_another_organisation_see_and_change_nothing(environment: Environment) -> None:
    from tests.builders.control import make_environment

    provider, domain = make_provider(environment.org), make_domain(environment.org)
    stranger = make_user("stranger@example.net")
    make_member(make_environment("other").org, "owner", stranger)
    stranger.is_staff = True
    stranger.save()
    client = Client()
    client.force_login(stranger)
    for page, row in (("sso_identityprovider", provider), ("sso_domain", domain)):
        assert str(row) not in client.get(reverse(f"admin:{page}_changelist")).content.decode()
        assert client.get(reverse(f"admin:{page}_change", args=[row.pk])).status_code in (302, 404)
    assert act(client, "sso_domain_give_up", domain.pk).status_code == 404
    assert act(client, "sso_identityprovider_enforcement", provider.pk).status_code == 404
    values = {"organization": environment.org.pk, "mfa_required": "on"}
    act(client, "sso_signinpolicy_ask", **values)
    assert not SignInPolicy.unscoped.exists()
