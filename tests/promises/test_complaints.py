"""What people complain about elsewhere, a test for each: the control plane. See docs/explanation/complaints.md."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from tests.builders.addresses import routes
from tests.builders.console import signed_in
from tests.builders.control import (
    PASSWORD,
    control_home,
    django_db_modify_db_settings,
    environment,
    events,
    make_account,
    make_environment,
    make_key,
    make_member,
    make_user,
    newest_snapshot,
    owner,
)
from tests.builders.flags import make_saved_flag
from tests.builders.http import Api, with_session
from tests.builders.policies import declare_dataset, policy
from tests.builders.reviews import make_queue, make_reviewer, make_task
from tests.builders.sign_on import make_enforced
from tests.fakes.data_plane import no_services

from headwater.control.access.actions import create_service_account, grant
from headwater.control.access.authority import has_permission
from headwater.control.access.groups import create_group
from headwater.control.access.models import Grant
from headwater.control.access.queries import actor_for_key, actor_for_user, get_role
from headwater.control.access.roles import create_role
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.actions import archive_dataset
from headwater.control.flags.actions import change_flag
from headwater.control.identity.actions import change_staff, create_user
from headwater.control.kit.actions import ACTIONS, SYSTEM, Actor
from headwater.control.kit.models import Outbox
from headwater.control.kit.tenancy import UnauditedWrite
from headwater.control.orgs.actions import create_project, rename_organization
from headwater.control.orgs.models import Environment, Organization, Project
from headwater.control.policies.explain import Question, explain
from headwater.control.reviews.actions import claim_task, decide_task
from headwater.control.reviews.models import ReviewDecision
from headwater.control.snapshots.models import Snapshot
from headwater.core.errors import HeadwaterError

__all__ = ["control_home", "django_db_modify_db_settings", "environment", "no_services", "owner"]


def test_complaint_01_changed_values_of_a_flag_are_in_the_audit_log(environment: Environment, owner: Actor) -> None:
    flag = make_saved_flag(owner, environment.project)
    change_flag(actor=owner, flag=flag, content={"description": "which home", "owner": "another team"})
    change_flag(actor=owner, flag=flag, content={"variants": {"on": True, "off": False, "maybe": True}})
    newest = events(environment.org, "flags.flag.changed")[-1]
    assert (newest.actor_id, newest.target_label) == (owner.id, flag.key)
    assert newest.before == {"variants": {"on": True, "off": False}}
    assert newest.after == {"variants": {"on": True, "off": False, "maybe": True}}


def test_complaint_02_the_audit_log_is_there_for_everybody(environment: Environment, owner: Actor) -> None:
    rename_organization(actor=owner, org=environment.org, name="Acme Air")
    client = signed_in(owner.subject)
    assert "orgs.organization.renamed" in client.get("/o/acme/-/audit/").content.decode()
    assert b"orgs.organization.renamed" in client.get("/o/acme/-/audit/export.csv").getvalue()
    told = Api(client).get("/organizations/acme/audit").body["items"]
    assert "orgs.organization.renamed" in {line["action"] for line in told}


def test_complaint_03_single_sign_on_is_part_of_it(environment: Environment) -> None:
    provider = make_enforced(environment.org)
    page = Client().post("/accounts/login/", {"login": "ada@example.com"}).content.decode()
    assert f"/accounts/oidc/{provider.public_id}/login/" in page


def test_complaint_04_who_was_given_nothing_may_do_nothing(environment: Environment) -> None:
    dataset = declare_dataset(environment)
    reader = create_role(actor=SYSTEM, org=environment.org, name="reader", permissions=["dataset.read"])
    for who in (make_user(), make_member(environment.org, "analyst").user):
        for act in (
            lambda actor: archive_dataset(actor=actor, dataset=dataset),
            lambda actor: create_project(actor=actor, org=environment.org, slug="mine"),
            lambda actor: rename_organization(actor=actor, org=environment.org, name="mine"),
        ):
            with pytest.raises(HeadwaterError) as caught:
                act(actor_for_user(who))
            assert caught.value.code == "forbidden"
    assert with_session(environment, user=None, role="analyst")("DELETE", "/organizations/acme").status in (
        403,
        404,
        405,
    )
    assert reader.permissions == ["dataset.read"], "roles of one's own are made without a licence"


def test_complaint_05_several_people_decide_about_one_thing(environment: Environment) -> None:
    task = make_task(make_queue(environment, decisions=2), environment)
    ann, bob = make_reviewer(environment.org), make_reviewer(environment.org)
    _decide(ann, task)
    assert task.state != "decided"
    _decide(bob, task)
    assert task.state == "decided"


def test_complaint_06_every_decision_is_kept(environment: Environment) -> None:
    task = make_task(make_queue(environment, decisions=2), environment)
    ann, bob = make_reviewer(environment.org), make_reviewer(environment.org)
    _decide(ann, task)
    _decide(bob, task)
    kept = ReviewDecision.objects.for_org(environment.org).filter(task=task)
    assert {one.reviewer_id for one in kept} == {ann.id, bob.id}
    for change in ("UPDATE reviews_reviewdecision SET comment = 'x'", "DELETE FROM reviews_reviewdecision"):
        with pytest.raises(Exception, match=r"(?i)decision|append|sealed|kept"), transaction.atomic():
            connection.cursor().execute(change)


def _decide(actor: Actor, task: Any) -> None:
    claim_task(actor=actor, task=task)
    decide_task(actor=actor, task=task, verdict="label", answers={"late": True})
    task.refresh_from_db()


def test_complaint_08_it_can_be_asked_why_somebody_sees_no_rows(environment: Environment) -> None:
    declare_dataset(environment, protected=True)
    member = make_member(environment.org, "analyst")
    answer = explain(Question(member.user, "dataset.read", environment, "dataset:flights"))
    assert answer.allowed
    assert answer.rows is not None
    assert "polic" in answer.reason + str(answer.rows)


def test_complaint_09_one_policy_decides_where_two_would_fit(environment: Environment) -> None:
    declare_dataset(environment, protected=True)
    policy(environment, "first", priority=1, row_filter="carrier = 'AA'")
    policy(environment, "second", priority=2, columns={"tail": "null"})
    member = make_member(environment.org, "analyst")
    answer = explain(Question(member.user, "dataset.read", environment, "dataset:flights"))
    assert answer.rows is not None
    told = str(answer.rows)
    assert "first" in told
    assert "second" not in told


def test_complaint_10_access_is_compiled_ahead_however_much_of_it_there_is(environment: Environment) -> None:
    """More grants than any page of a hundred holds, and the key of the data plane has every one of them."""
    account = make_account(environment.project, "many")
    for number in range(105):
        grant(actor=SYSTEM, scope=environment, role=get_role("consumer"), service_account=account,
              resource=f"dataset:d{number}")  # fmt: skip
    key, _ = make_key(environment, account)
    (spec,) = [one for one in newest_snapshot(environment).keys.values() if one.id == key.public_id]
    assert sum(allowance.startswith("dataset.read:") for allowance in spec.allowances) == 105


def test_complaint_12_nothing_is_written_around_the_history(environment: Environment) -> None:
    for write in (
        lambda: Project.unscoped.filter(pk=environment.project_id).update(name="x"),
        lambda: Project.unscoped.bulk_update([environment.project], ["name"]),
        lambda: Project.unscoped.bulk_create([Project(org=environment.org, slug="x", name="x")]),
        lambda: Project.unscoped.filter(pk=environment.project_id).delete(),
        environment.project.save,
    ):
        with pytest.raises(UnauditedWrite):
            write()
    before = AuditEvent.objects.count()
    rename_organization(actor=SYSTEM, org=environment.org, name=environment.org.name)
    assert AuditEvent.objects.count() == before, "and what changes nothing leaves no change"


def test_complaint_13_who_acted_is_said_and_never_guessed(environment: Environment, owner: Actor) -> None:
    for name, spec in ACTIONS.items():
        first = next(iter(inspect.signature(spec.function).parameters.values()))
        assert (first.name, first.kind, first.default) == ("actor", first.KEYWORD_ONLY, first.empty), name
    account = make_account(environment.project, "mighty")
    grant(actor=SYSTEM, scope=environment.org, role=get_role("owner"), service_account=account)
    key, _ = make_key(environment, account)
    for actor in (owner, actor_for_key(key), SYSTEM):
        create_service_account(actor=actor, project=environment.project, name=f"by-{actor.kind}".replace("_", "-"))
        event = events(environment.org, "access.service_account.created")[-1]
        assert (event.actor_kind, event.actor_id) == (actor.kind, actor.id)


def test_complaint_14_a_permission_costs_the_same_however_many_were_given(environment: Environment) -> None:
    dataset, member = declare_dataset(environment), make_member(environment.org, "analyst")

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert has_permission(member.user, "dataset.read", dataset)
        return len(captured)

    few = queries()
    for number in range(30):
        grant(
            actor=SYSTEM, scope=environment, role=get_role("analyst"), membership=member, resource=f"dataset:d{number}"
        )
    assert queries() == few <= 4
    for model in apps.get_models():
        if model.__module__.startswith("headwater."):
            assert not any(type(field).__name__ == "GenericForeignKey" for field in model._meta.private_fields), model


class Killed(RuntimeError):
    """The process ended before the commit."""


def half_way(act: Callable[[], object]) -> None:
    """Run an action in a transaction that never commits."""
    with transaction.atomic():
        act()
        raise Killed


def kept() -> list[int]:
    return [rows.count() for rows in (Grant.unscoped, Snapshot.unscoped, AuditEvent.objects, Outbox.objects)]


def test_complaint_15_a_grant_and_what_it_opens_are_one_write(environment: Environment) -> None:
    account = make_account(environment.project, "loader")
    make_key(environment, account)

    def give() -> Grant:
        return grant(actor=SYSTEM, scope=environment, role=get_role("consumer"), service_account=account)

    before = kept()
    with pytest.raises(Killed):
        half_way(give)
    assert kept() == before
    give()
    assert kept() == [count + 1 for count in before]
    with pytest.raises(HeadwaterError) as caught:
        give()
    assert caught.value.code == "conflict", "twice is told apart from once"


def test_complaint_16_long_lists_of_the_console_count_no_rows(environment: Environment, owner: Actor) -> None:
    for number in range(60):
        create_group(actor=owner, org=environment.org, name=f"g{number}")
    client = signed_in(owner.subject)
    with CaptureQueriesContext(connection) as captured:
        page = client.get("/o/acme/-/audit/").content.decode()
    assert not [one for one in captured.captured_queries if "COUNT(" in one["sql"] and "audit_auditevent" in one["sql"]]
    assert "after=" in page


def test_complaint_17_choices_and_searches_hold_ones_own_rows_alone(
    environment: Environment, no_services: None
) -> None:
    create_group(actor=SYSTEM, org=environment.org, name="hidden-group")
    make_account(environment.project, "hidden-account")
    other = make_environment("other")
    stranger = make_member(other.org, "owner")
    change_staff(actor=SYSTEM, user=stranger.user, is_staff=True)
    client = signed_in(stranger.user)
    for path in (
        reverse("admin:access_grant_create"), reverse("admin:access_apikey_create"),
        reverse("admin:orgs_project_create"),
        "/admin/search/?s=hidden", "/admin/?q=hidden",
        "/admin/autocomplete/?app_label=access&model_name=grant&field_name=group&term=hidden",
        "/admin/access/group/?q=hidden", "/admin/access/group/?org__slug=acme",
        "/admin/access/grant/?group__name=hidden-group",
    ):  # fmt: skip
        reply = client.get(path)
        assert reply.status_code in (200, 302, 400, 403, 404), path
        text = reply.getvalue().decode().replace(path.partition("?")[2], "")
        assert "hidden-account" not in text, path
        assert environment.org.public_id not in text, path
        assert str(environment.org_id) not in text, path


def test_complaint_20_what_follows_from_a_change_is_kept_with_it(environment: Environment) -> None:
    told = Outbox.objects.filter(topic="orgs.organization.renamed")
    with pytest.raises(Killed):
        half_way(lambda: rename_organization(actor=SYSTEM, org=environment.org, name="x"))
    assert not told.exists()
    rename_organization(actor=SYSTEM, org=Organization.unscoped.get(pk=environment.org_id), name="y")
    assert told.get().published_at is None, "kept until somebody took it, whether a broker is there or not"


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@Example.COM"])
def test_complaint_23_no_route_leads_around_enforced_sign_on(environment: Environment, email: str) -> None:
    """Every address below accounts and the admin's own login is sent the right password, in every usual form."""
    user = create_user(actor=SYSTEM, email="ada@example.com", password=PASSWORD)
    make_member(environment.org, "analyst", user)
    make_enforced(environment.org)
    form = {"login": email, "username": email, "email": email, "password": PASSWORD, "password1": PASSWORD,
            "password2": PASSWORD, "oldpassword": PASSWORD, "code": "123456", "remember": "on",
            "recovery": "yes"}  # fmt: skip
    paths = [
        f"/{template}"
        for template, _ in routes()
        if template.startswith(("accounts/", "admin/log")) and "<" not in template
    ]
    assert len(paths) > 15
    for path in paths:
        browser = Client(raise_request_exception=False)
        browser.get("/accounts/login/")
        browser.post(path, form)
        assert "_auth_user_id" not in browser.session, path
        browser.force_login(user)
        assert browser.get("/o/acme/-/team/").status_code == 302, "a session made beside our pages opens nothing"
        assert "_auth_user_id" not in browser.session, path
