"""The admin: every page opens, shows what it should to whom it should, and changes state by actions alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from tests.builders.control import (
    events,
    make_account,
    make_environment,
    make_key,
    make_member,
    make_user,
    newest_snapshot,
)
from tests.builders.onnx_models import linear
from tests.builders.projects import DELAY_MODEL, WORST, flights, resources
from tests.builders.registry import make_version
from tests.fakes.data_plane import FakeServices, no_services, quarantine_group, services

from headwater.control import configuration
from headwater.control.access.models import ApiKey, Grant, ServiceAccount
from headwater.control.access.queries import get_role
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.apply import apply_project
from headwater.control.catalog.models import ContractVersion, Dataset, Endpoint
from headwater.control.console import front
from headwater.control.console.model_admin import ConsoleModelAdmin
from headwater.control.console.templatetags.visible import visible
from headwater.control.identity.actions import change_staff
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment, Organization, Project
from headwater.control.registry.actions import approve_version
from headwater.control.registry.admin import PromoteForm
from headwater.control.registry.models import Model
from headwater.control.snapshots.models import SnapshotAck
from headwater.engines.blobs import open_blobs

__all__ = ["no_services", "services"]

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def operator(environment: Environment) -> Client:
    """Somebody who operates the platform."""
    client = Client()
    client.force_login(make_user("root@example.com", is_admin=True))
    return client


@pytest.fixture
def stocked(environment: Environment, owner: Actor) -> Environment:
    """An environment with one of everything."""
    sha256 = open_blobs(configuration.current()).put(linear([1.0, 2.0]))
    apply_project(
        actor=owner,
        environment=environment,
        resources=resources({"d": flights()}, {"worst.sql": WORST}, {"m": (DELAY_MODEL, sha256)}),
    )
    make_key(environment, make_account(environment.project))
    SnapshotAck.objects.create(node="node-1", environment=environment, number=1, applied_at=datetime.now(UTC))
    return environment


def text_of(client: Client, url: str) -> str:
    reply = client.get(url)
    assert reply.status_code == 200, f"{url}: {reply.status_code}"
    return reply.content.decode()


def our_pages() -> list[ConsoleModelAdmin]:
    reverse("admin:index")  # the addresses bring the pages with them
    return [page for page in admin.site._registry.values() if isinstance(page, ConsoleModelAdmin)]


def staff_member(environment: Environment, role: str) -> Client:
    member = make_member(environment.org, role)
    change_staff(actor=SYSTEM, user=member.user, is_staff=True)
    client = Client()
    client.force_login(member.user)
    return client


def test_every_list_and_every_row_opens(operator: Client, stocked: Environment, no_services: None) -> None:
    assert len(our_pages()) > 15
    for page in our_pages():
        base = f"admin:{page.opts.app_label}_{page.opts.model_name}"
        text_of(operator, reverse(f"{base}_changelist"))
        rows = getattr(page.model, "unscoped", page.model._default_manager).all()[:3]
        for row in rows:
            text_of(operator, reverse(f"{base}_change", args=[row.pk]))


def test_every_list_can_be_searched_and_filtered(operator: Client, stocked: Environment) -> None:
    for page in our_pages():
        base = f"admin:{page.opts.app_label}_{page.opts.model_name}"
        text_of(operator, reverse(f"{base}_changelist") + "?q=zzz")


def test_no_page_offers_to_add_change_or_delete_a_row_behind_the_actions(
    operator: Client, stocked: Environment
) -> None:
    for page in our_pages():
        base = f"admin:{page.opts.app_label}_{page.opts.model_name}"
        assert operator.get(reverse(f"{base}_add")).status_code == 403
        row = getattr(page.model, "unscoped", page.model._default_manager).first()
        if row is not None:
            assert operator.post(reverse(f"{base}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
            assert operator.post(reverse(f"{base}_change", args=[row.pk]), {}).status_code in (200, 403)


def test_the_home_shows_what_the_services_count(operator: Client, stocked: Environment, services: FakeServices) -> None:
    services.fill()
    services.problems = ["the disk is nearly full"]
    page = text_of(operator, reverse("admin:index"))
    assert "the disk is nearly full" in page
    assert "1,000" in page
    assert "out_of_range" in page
    assert "catalog.endpoint.published" in page
    assert "node-1" in page
    assert "services are away" not in page


def test_the_home_says_when_the_services_are_away(operator: Client, stocked: Environment, no_services: None) -> None:
    page = text_of(operator, reverse("admin:index"))
    assert "services are away" in page
    assert "flights" in page


def test_the_page_of_a_dataset_shows_contract_counts_and_quarantine_escaped(
    operator: Client, stocked: Environment, services: FakeServices
) -> None:
    services.fill()
    dataset = Dataset.objects.for_org(stocked.org).get()
    page = text_of(operator, reverse("admin:catalog_dataset_change", args=[dataset.pk]))
    assert "carrier" in page
    assert "4 open" in page
    assert "the number is out of range" in page
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_group_is_replayed_from_the_admin_with_a_reason(
    operator: Client, stocked: Environment, services: FakeServices
) -> None:
    services.fill()
    dataset = Dataset.objects.for_org(stocked.org).get()
    url = reverse("admin:catalog_dataset_resolve", args=[dataset.pk, stocked.pk, "replay"])
    url += f"?fingerprint={quarantine_group()['fingerprint']}"
    assert "no row is ever stored twice" in text_of(operator, url)
    assert services.verdicts == []
    reply = operator.post(url, {"reason": "contract mended"}, follow=True)
    assert "The group was replayed: 4 received, 4 accepted" in reply.content.decode()
    assert events(stocked.org, "catalog.quarantine.resolved")[0].reason == "contract mended"


def test_what_an_action_refuses_is_shown_in_its_form(operator: Client, stocked: Environment, no_services: None) -> None:
    dataset = Dataset.objects.for_org(stocked.org).get()
    url = reverse("admin:catalog_dataset_resolve", args=[dataset.pk, stocked.pk, "discard"]) + "?fingerprint=x"
    page = operator.post(url, {"reason": ""}).content.decode()
    assert "does not answer" in page


def test_a_key_is_made_and_its_secret_shown_once(operator: Client, stocked: Environment) -> None:
    url = reverse("admin:access_apikey_create")
    account = ServiceAccount.objects.for_org(stocked.org).get()
    values = {
        "name": "loader", "environment": stocked.pk, "service_account": account.pk, "scopes": "", "valid_days": 30,
    }  # fmt: skip
    reply = operator.post(url, values)
    found = re.search(r"hw_[a-z2-7]{8}_[a-z2-7]{52}", reply.content.decode())
    assert found
    assert "no-store" in reply.headers["Cache-Control"]
    key = ApiKey.objects.for_org(stocked.org).get(name="loader")
    for url in (reverse("admin:access_apikey_changelist"), reverse("admin:access_apikey_change", args=[key.pk])):
        assert found[0] not in text_of(operator, url)
    revoke = reverse("admin:access_apikey_revoke", args=[key.pk])
    operator.post(revoke, {"reason": "leaked"})
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert "revoked already" in operator.post(revoke, {"reason": "x"}).content.decode()


def test_users_organisations_projects_members_and_grants_are_made_by_actions(
    operator: Client, stocked: Environment
) -> None:
    made = {
        "identity_user_create": {"email": "new@example.com", "password": "", "name": "New"},
        "orgs_organization_create": {"slug": "rail", "name": "Rail"},
    }
    for name, values in made.items():
        assert operator.post(reverse(f"admin:{name}"), values).status_code == 302, name
    rail = Organization.unscoped.get(slug="rail")
    assert (
        operator.post(reverse("admin:orgs_project_create"), {"organization": rail.pk, "slug": "trains"}).status_code
        == 302
    )
    project = Project.objects.for_org(rail).get()
    operator.post(reverse("admin:orgs_environment_create"), {"project": project.pk, "key": "prod", "protected": "on"})
    assert Environment.objects.for_org(rail).get().protected
    role = Grant.objects.for_org(stocked.org).select_related("role")[0].role
    operator.post(
        reverse("admin:orgs_membership_invite"), {"organization": rail.pk, "email": "new@example.com", "role": role.pk}
    )
    assert len(events(rail, "orgs.membership.invited")) == 1
    operator.post(reverse("admin:access_serviceaccount_create"), {"project": project.pk, "name": "loader"})
    account = ServiceAccount.objects.for_org(rail).get()
    operator.post(
        reverse("admin:access_grant_create"), {"role": role.pk, "service_account": account.pk, "project": project.pk}
    )
    grant = Grant.objects.for_org(rail).get(service_account=account)
    operator.post(reverse("admin:access_grant_revoke", args=[grant.pk]), {"reason": "x"})
    grant.refresh_from_db()
    assert grant.revoked_at is not None


def test_datasets_endpoints_and_models_are_decided_upon(operator: Client, stocked: Environment) -> None:
    dataset = Dataset.objects.for_org(stocked.org).get()
    operator.post(reverse("admin:catalog_dataset_archive", args=[dataset.pk]), {"reason": "old"})
    assert newest_snapshot(stocked).datasets["flights"].archived
    operator.post(reverse("admin:catalog_dataset_restore", args=[dataset.pk]), {"reason": ""})
    version = ContractVersion.objects.for_org(stocked.org).get()
    activate = reverse("admin:catalog_dataset_activate", args=[dataset.pk, stocked.pk, version.number])
    assert operator.post(activate, {"reason": ""}).status_code == 302
    endpoint = Endpoint.objects.for_org(stocked.org).get()
    operator.post(reverse("admin:catalog_endpoint_archive", args=[endpoint.pk]), {"reason": ""})
    assert newest_snapshot(stocked).endpoints == {}
    model = Model.objects.for_org(stocked.org).get()
    for verb, values in (("approve", {"override": "on"}), ("promote", {"environment": stocked.pk})):
        url = reverse("admin:registry_model_decide", args=[model.pk, 1, verb])
        text_of(operator, url)
        assert operator.post(url, {"reason": "good", **values}).status_code == 302


def test_a_models_traffic_is_moved_and_taken_back_from_the_admin(
    operator: Client, stocked: Environment, owner: Actor
) -> None:
    model = Model.objects.for_org(stocked.org).get()
    make_version(model, "b", owner)

    def decide(number: int, verb: str, **values: object) -> str:
        url = reverse("admin:registry_model_decide", args=[model.pk, number, verb])
        assert text_of(operator, url)
        reply = operator.post(url, {"reason": f"to {verb}", "environment": stocked.pk, **values}, follow=True)
        return reply.content.decode()

    assert "delay v2 is canary in air/dev." in decide(2, "route", role="canary", percent="10")
    page = text_of(operator, reverse("admin:registry_model_change", args=[model.pk]))
    for text in ("90 %", "10 %", "champion", "canary", "@challenger", "to route", "Roll back"):
        assert text in page
    rollback = reverse("admin:registry_model_rollback", args=[model.pk])
    assert "selected>air/dev" in text_of(operator, f"{rollback}?environment=dev")
    operator.post(rollback, {"environment": stocked.pk, "reason": "too slow"})
    assert [route.version for route in newest_snapshot(stocked).models["delay"].routes] == [1]
    assert "delay v2 is @stable." in decide(2, "alias", alias="stable")
    assert "fails license, training_data" in decide(1, "check")
    assert "is in use" in decide(2, "archive")
    rules = reverse("admin:registry_model_rules", args=[model.pk])
    refused = operator.post(rules, {"environment": stocked.pk, "rules": '{"max_speed": 1}', "reason": ""})
    assert "rules.max_speed" in refused.content.decode()
    operator.post(rules, {"environment": stocked.pk, "rules": '{"max_concurrency": 5}', "reason": "small"})
    assert newest_snapshot(stocked).models["delay"].serving.max_concurrency == 5
    assert "max concurrency: 5" in text_of(operator, reverse("admin:registry_model_change", args=[model.pk]))
    (event,) = events(stocked.org, "registry.version.rolled_back")
    assert (event.actor_label, event.reason) == ("root@example.com", "too slow")


def test_a_versions_page_tells_all_about_it_and_shows_text_as_it_is(
    operator: Client, stocked: Environment, owner: Actor
) -> None:
    model = Model.objects.for_org(stocked.org).get()
    version = make_version(
        model, "b", owner, card=EVIL, license="Apache-2.0", metrics={"auc": 0.71},
        features=[{"field": "hour", "view": "weather", "feature": "temp"}],
        training={"dataset": "flights", "version": 12, "code": "9f2c1d", "rows": 336_776},
        inputs={"name": "delay", "version": "1", "fields": [{"name": "hour", "type": "number", "required": True}]},
    )  # fmt: skip
    approve_version(actor=SYSTEM, version=version, reason="looked at it", override=True)
    page = text_of(operator, reverse("admin:registry_modelversion_change", args=[version.pk]))
    told = (
        "Apache-2.0", "AUC 0.71", "weather.temp", "table version 12", "336,776", "9f2c1d", "looked at it", "approved",
    )  # fmt: skip
    for text in told:
        assert text in page, text
    assert EVIL not in page
    assert "&lt;script&gt;" in page


def test_an_account_is_made_with_its_role_or_not_at_all(environment: Environment) -> None:
    client = staff_member(environment, "admin")
    values = {"project": environment.project.pk, "name": "mighty", "role": get_role("owner").pk}
    page = client.post(reverse("admin:access_serviceaccount_create"), values).content.decode()
    assert "do not hold" in page
    assert not ServiceAccount.objects.for_org(environment.org).filter(name="mighty").exists()


def test_a_version_is_promoted_in_environments_of_its_own_project_alone(operator: Client, stocked: Environment) -> None:
    other = make_environment("other")
    model = Model.objects.for_org(stocked.org).get()
    address = reverse("admin:registry_model_decide", args=[model.pk, 1, "promote"])
    assert str(other.pk) not in text_of(operator, address)
    assert "valid choice" in operator.post(address, {"environment": other.pk}).content.decode()
    offered = PromoteForm.base_fields["environment"].queryset  # type: ignore[attr-defined]
    assert not offered.exists(), "what one reader is offered is not kept for the next"


def test_an_organisation_is_suspended_and_served_again(operator: Client, stocked: Environment) -> None:
    address = f"/admin/orgs/organization/{stocked.org.pk}/"
    assert any(spec.allowances for spec in newest_snapshot(stocked).keys.values())
    assert operator.post(f"{address}suspend/", {"reason": "unpaid"}).status_code == 302
    assert not any(spec.allowances for spec in newest_snapshot(stocked).keys.values())
    assert operator.post(f"{address}reactivate/", {"reason": "paid"}).status_code == 302
    assert any(spec.allowances for spec in newest_snapshot(stocked).keys.values())
    owner = staff_member(stocked, "owner")
    assert "operate the platform" in owner.post(f"{address}suspend/", {"reason": ""}).content.decode()


def test_an_environment_is_protected_by_those_who_may(stocked: Environment) -> None:
    address = f"/admin/orgs/environment/{stocked.pk}/protection/"
    assert (
        "lacks organization.write" in staff_member(stocked, "developer").post(address, {"reason": ""}).content.decode()
    )
    assert not newest_snapshot(stocked).environment.protected
    assert staff_member(stocked, "owner").post(address, {"reason": "production"}).status_code == 302
    assert newest_snapshot(stocked).environment.protected


def test_somebody_is_let_into_the_admin_and_out_again(operator: Client, environment: Environment) -> None:
    member = make_member(environment.org, "operator")
    client = Client()
    client.force_login(member.user)
    address = f"/admin/identity/user/{member.user.pk}/staff/"
    for expected in (200, 302):
        assert operator.post(address, {"reason": "on call"}).status_code == 302
        assert client.get(reverse("admin:catalog_dataset_changelist")).status_code == expected
    root = operator.session["_auth_user_id"]
    assert "anyhow" in operator.post(f"/admin/identity/user/{root}/staff/", {"reason": ""}).content.decode()


def test_the_chain_is_verified_from_the_admin(operator: Client, stocked: Environment) -> None:
    page = operator.get(reverse("admin:audit_auditevent_verify"), follow=True).content.decode()
    assert "the chain is whole" in page
    event = AuditEvent.objects.filter(action="catalog.dataset.created").get()
    assert event.hash in text_of(operator, reverse("admin:audit_auditevent_change", args=[event.pk]))


def test_staff_see_their_own_organisation_alone(stocked: Environment, no_services: None) -> None:
    stranger = staff_member(make_environment("other"), "owner")
    for page in our_pages():
        if page.view_permission is None:
            continue
        base = f"admin:{page.opts.app_label}_{page.opts.model_name}"
        for row in getattr(page.model, "unscoped", page.model._default_manager).all():
            own = "acme" not in str(getattr(row, "org", "")) and getattr(row, "org_id", None) != stocked.org_id
            if own:
                continue
            reply = stranger.get(reverse(f"{base}_change", args=[row.pk]))
            assert reply.status_code in (302, 404), f"{base}: {row}"
    assert "flights" not in text_of(stranger, reverse("admin:index"))


def test_staff_without_a_permission_see_no_rows_and_no_samples(stocked: Environment, services: FakeServices) -> None:
    services.fill()
    producer = staff_member(stocked, "producer")
    dataset = Dataset.objects.for_org(stocked.org).get()
    assert producer.get(reverse("admin:catalog_dataset_change", args=[dataset.pk])).status_code == 404
    analyst = staff_member(stocked, "consumer")
    page = text_of(analyst, reverse("admin:catalog_dataset_change", args=[dataset.pk]))
    assert "4 open" in page
    assert "alert(1)" not in page


def test_forms_offer_staff_their_own_organisation_alone(stocked: Environment) -> None:
    other = make_environment("other")
    page = text_of(staff_member(other, "owner"), reverse("admin:orgs_project_create"))
    assert "other" in page
    assert "acme" not in page


def test_an_owner_on_staff_cannot_do_what_only_operators_may(stocked: Environment) -> None:
    owner = staff_member(stocked, "owner")
    reply = owner.post(reverse("admin:orgs_organization_create"), {"slug": "mine"})
    assert "only those who operate the platform" in reply.content.decode()
    assert owner.get(reverse("admin:identity_user_changelist")).status_code == 403


def test_those_who_are_no_staff_are_kept_out(stocked: Environment) -> None:
    client = Client()
    page = client.get(reverse("admin:index"), follow=True)
    assert page.redirect_chain[-1][0].startswith("/accounts/login/")
    client.force_login(make_member(stocked.org, "owner").user)
    assert client.get(reverse("admin:index")).status_code in (302, 403)
    assert client.get(reverse("admin:catalog_dataset_changelist")).status_code in (302, 403)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ('{"name": "\u202eevil\u202c"}', '{"name": "⟨U+202E⟩evil⟨U+202C⟩"}'),
        ("a\x00b\x1bc\ufeff", "a⟨U+0000⟩b⟨U+001B⟩c⟨U+FEFF⟩"),
        ("a\tb\r\nשמר 日本 👩\u200d🔬", "a\tb\r\nשמר 日本 👩\u200d🔬"),
        ("", ""),
        (None, None),
    ],
)
def test_a_raw_row_reads_as_it_came(raw: str | None, shown: str | None) -> None:
    assert visible(raw) == shown


def test_pages_about_errors_are_ours_and_tell_nothing_of_the_inside(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret inside")

    replies = [
        client.get("/nowhere"),
        client.post("/accounts/login/", {"login": "a"}),
        client.get("/", headers={"Host": "evil.example"}),
    ]
    monkeypatch.setattr(front, "render", fail)
    client.force_login(make_user())
    replies.append(client.get("/"))
    assert [reply.status_code for reply in replies] == [404, 403, 400, 500]
    for reply in replies:
        page = reply.content.decode()
        assert "headwater/console.css" in page
        assert "<h1>" in page
        assert "secret" not in page
        assert "Traceback" not in page
        assert "Content-Security-Policy" in reply.headers


def test_the_login_page_is_ours(db: None) -> None:
    page = text_of(Client(), "/accounts/login/")
    assert "headwater/console.css" in page
    assert "sign up" not in page.lower()
