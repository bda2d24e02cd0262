from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from tests.builders.control import events, make_member, make_owner

from headwater.control.access.queries import actor_for_user
from headwater.control.audit.models import AuditEvent
from headwater.control.kit import outbox
from headwater.control.kit.actions import ACTIONS, SYSTEM, Actor, action, note
from headwater.control.kit.models import Outbox
from headwater.control.kit.requests import RequestContext, serving
from headwater.control.kit.tenancy import UnauditedWrite, UnscopedQuery
from headwater.control.orgs.actions import create_project, rename_organization
from headwater.control.orgs.models import Environment, Organization, Project
from headwater.core.errors import HeadwaterError


def test_an_action_leaves_one_audit_row_and_one_outbox_row(environment: Environment, owner: Actor) -> None:
    rows, waiting = AuditEvent.objects.count(), Outbox.objects.count()
    with serving(RequestContext("req_1", "10.0.0.7")):
        rename_organization(actor=owner, org=environment.org, name="Acme Air")
    assert AuditEvent.objects.count() == rows + 1
    assert Outbox.objects.count() == waiting + 1
    event = events(environment.org, "orgs.organization.renamed")[0]
    assert (event.before, event.after) == ({"name": "acme"}, {"name": "Acme Air"})
    assert (event.actor_kind, event.actor_label) == ("user", owner.label)
    assert (event.request_id, event.ip) == ("req_1", "10.0.0.7")
    message = Outbox.objects.get(topic="orgs.organization.renamed")
    assert message.key == environment.org.public_id
    assert message.payload["n"] == event.n


def test_an_action_that_fails_leaves_nothing(environment: Environment, owner: Actor) -> None:
    rows = AuditEvent.objects.count()
    with pytest.raises(HeadwaterError, match="slug"):
        create_project(actor=owner, org=environment.org, slug="Not A Slug")
    with pytest.raises(HeadwaterError) as caught:
        create_project(actor=owner, org=environment.org, slug="air")
    assert caught.value.code == "conflict"
    assert AuditEvent.objects.count() == rows
    assert Project.objects.for_org(environment.org).count() == 1


def test_an_action_that_changes_nothing_leaves_nothing(environment: Environment, owner: Actor) -> None:
    rows = AuditEvent.objects.count()
    rename_organization(actor=owner, org=environment.org, name="acme")
    assert AuditEvent.objects.count() == rows


def test_without_the_permission_nothing_happens(environment: Environment) -> None:
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    rows = AuditEvent.objects.count()
    with pytest.raises(HeadwaterError) as caught:
        rename_organization(actor=analyst, org=environment.org, name="Mine")
    assert caught.value.code == "forbidden"
    assert "organization.write" in caught.value.detail
    environment.org.refresh_from_db()
    assert environment.org.name == "acme"
    assert AuditEvent.objects.count() == rows


def test_what_only_the_system_does_is_refused_to_an_owner(environment: Environment, owner: Actor) -> None:
    with pytest.raises(HeadwaterError, match="operate the platform"):
        ACTIONS["orgs.organization.created"].function(actor=owner, slug="more")


def test_actions_inside_an_action_leave_rows_of_their_own_in_one_group(environment: Environment) -> None:
    @action("kit.test.grouped", permission=None)
    def rename_and_add(*, actor: Actor, org: Organization) -> None:
        org.change(name="Grouped")
        create_project(actor=actor, org=org, slug="second")

    rename_and_add(actor=SYSTEM, org=environment.org)
    inner, outer = events(environment.org)[-2:]
    assert [inner.action, outer.action] == ["orgs.project.created", "kit.test.grouped"]
    assert inner.group_id == outer.group_id


def test_an_action_that_only_calls_others_leaves_a_row_that_counts_them(environment: Environment) -> None:
    @action("kit.test.composed", permission=None, on="org")
    def add_two(*, actor: Actor, org: Organization, slugs: tuple[str, ...]) -> None:
        for slug in slugs:
            create_project(actor=actor, org=org, slug=slug)

    add_two(actor=SYSTEM, org=environment.org, slugs=("one", "two"))
    event = events(environment.org, "kit.test.composed")[0]
    assert event.target_id == environment.org.public_id
    assert event.after == {"through": {"orgs.project.created": 2}}
    add_two(actor=SYSTEM, org=environment.org, slugs=())
    assert len(events(environment.org, "kit.test.composed")) == 1, "nothing was done"


def test_further_rows_of_an_action_are_related_to_the_first(environment: Environment) -> None:
    @action("kit.test.related", permission=None)
    def touch_two(*, actor: Actor, environment: Environment, reason: str) -> None:
        environment.change(protected=True)
        environment.project.change(name="Air two")

    touch_two(actor=SYSTEM, environment=environment, reason="because")
    event = events(environment.org)[-1]
    assert event.target_id == environment.public_id
    assert event.reason == "because"
    assert [related["after"] for related in event.related] == [{"name": "Air two"}]


@pytest.mark.parametrize(
    "write",
    [
        lambda org: Organization(slug="x", name="x").save(),
        lambda org: org.save(),
        lambda org: org.change(name="x"),
        lambda org: org.delete(),
        lambda org: org.remove(),
        lambda org: Organization.unscoped.filter(pk=org.pk).update(name="x"),
        lambda org: Organization.unscoped.filter(pk=org.pk).delete(),
        lambda org: Organization.unscoped.bulk_create([]),
        lambda org: Organization.unscoped.bulk_update([], ["name"]),
        lambda org: Organization.unscoped.create(slug="x", name="x"),
    ],
    ids=[
        "insert",
        "save",
        "change",
        "delete",
        "remove",
        "update",
        "delete-many",
        "bulk-create",
        "bulk-update",
        "create",
    ],
)
def test_a_write_outside_an_action_is_refused(environment: Environment, write: Any) -> None:
    with pytest.raises(UnauditedWrite):
        write(environment.org)
    assert list(Organization.unscoped.values_list("name", flat=True)) == ["acme"]


def test_two_who_change_the_same_row_cannot_overwrite_each_other(environment: Environment, owner: Actor) -> None:
    mine = Organization.unscoped.get(pk=environment.org.pk)
    theirs = Organization.unscoped.get(pk=environment.org.pk)
    rename_organization(actor=owner, org=mine, name="first")
    with pytest.raises(HeadwaterError) as caught:
        rename_organization(actor=owner, org=theirs, name="second")
    assert caught.value.code == "conflict"
    assert Organization.unscoped.get(pk=mine.pk).name == "first"


def test_asking_for_rows_without_an_organisation_is_refused(environment: Environment) -> None:
    for ask in (
        Project.objects.all,
        lambda: Project.objects.filter(slug="air"),
        lambda: Project.objects.get(slug="air"),
        Project.objects.count,
    ):
        with pytest.raises(UnscopedQuery, match="whose Project rows"):
            ask()
    assert Project.objects.for_org(environment.org).get().slug == "air"


def test_one_organisation_does_not_see_the_other(environment: Environment) -> None:
    from headwater.control.orgs.actions import create_organization

    other = create_organization(actor=SYSTEM, slug="other")
    assert not Project.objects.for_org(other).exists()


def test_an_action_takes_its_arguments_by_name_and_its_actor_first() -> None:
    with pytest.raises(TypeError, match="actor first"):

        @action("kit.test.positional", permission=None)
        def positional(actor: Actor) -> None: ...

    with pytest.raises(ValueError, match="not a permission"):

        @action("kit.test.unknown", permission="dataset.fly")
        def unknown(*, actor: Actor) -> None: ...


def test_a_note_outside_an_action_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no action runs"):
        note(object(), a=1)


def test_an_event_is_published_once_and_tried_again_after_a_failure(environment: Environment, owner: Actor) -> None:
    seen: list[str] = []
    outbox.relay(lambda event: seen.append(event.topic), limit=1_000)
    assert len(seen) == Outbox.objects.count()

    rename_organization(actor=owner, org=environment.org, name="once")

    def fail(event: Outbox) -> None:
        raise OSError("away")

    assert outbox.relay(fail) == 0
    waiting = Outbox.objects.get(published_at=None)
    assert (waiting.attempts, waiting.last_error) == (1, "OSError: away")
    seen.clear()
    assert outbox.relay(lambda event: seen.append(event.topic)) == 0, "it waits before the next attempt"
    Outbox.objects.update(retry_at=None)
    assert outbox.relay(lambda event: seen.append(event.topic)) == 1
    assert outbox.relay(lambda event: seen.append(event.topic)) == 0
    assert seen == ["orgs.organization.renamed"]


def test_the_outbox_takes_no_event_outside_a_transaction(committed: None) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        outbox.put(topic="t", key="k", payload={})
    assert not connection.in_atomic_block


def test_an_owner_of_one_organisation_is_nobody_in_another(environment: Environment) -> None:
    from headwater.control.orgs.actions import create_organization

    other = create_organization(actor=SYSTEM, slug="other")
    make_owner(other)
    stranger = make_owner(environment.org)
    with pytest.raises(HeadwaterError) as caught:
        rename_organization(actor=stranger, org=other, name="taken over")
    assert caught.value.code == "forbidden"
