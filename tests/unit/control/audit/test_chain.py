from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext
from tests.builders.control import break_seals, events, make_environment, make_key

from headwater.control.access.actions import revoke_key
from headwater.control.audit import verify
from headwater.control.audit.models import AuditEvent, AuditHead
from headwater.control.audit.record import PLATFORM
from headwater.control.audit.verify import verify_all, verify_chain
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.actions import create_organization
from headwater.control.orgs.models import Environment


def sql(statement: str, *parameters: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


@pytest.fixture
def unsealed(committed: None) -> Environment:
    """An environment in a database whose triggers somebody with all rights has dropped."""
    environment = make_environment()
    break_seals("audit_")
    return environment


def test_numbers_are_contiguous_in_each_organisation(environment: Environment) -> None:
    other = make_environment("other")
    make_key(environment)
    for org in (environment.org, other.org):
        assert [event.n for event in events(org)] == list(range(1, len(events(org)) + 1))
    assert all(report.is_whole for report in verify_all())
    assert {report.org_id for report in verify_all()} == {environment.org_id, other.org_id, PLATFORM}


def test_a_long_chain_is_read_a_page_at_a_time(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "PAGE", 2)
    with CaptureQueriesContext(connection) as asked:
        report = verify_chain(environment.org_id)
    assert report.is_whole
    assert report.events == len(events(environment.org)) > 2
    assert len(asked) > report.events // 2
    assert all("LIMIT" in query["sql"] for query in asked if "audit_auditevent" in query["sql"])


def test_events_that_join_while_a_chain_is_read_are_no_alarm(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = verify._events

    def reading(org_id: uuid.UUID) -> Iterator[AuditEvent]:
        yield from read(org_id)
        make_key(environment)

    monkeypatch.setattr(verify, "_events", reading)
    assert verify_chain(environment.org_id).is_whole


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET actor_label = 'nobody'",
        "UPDATE audit_auditevent SET reason = reason WHERE n = 1",
        "DELETE FROM audit_auditevent",
        "DELETE FROM audit_auditevent WHERE n = 1",
        pytest.param(
            "REPLACE INTO audit_auditevent SELECT * FROM audit_auditevent WHERE n = 1",
            marks=pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has REPLACE"),
        ),
    ],
)
def test_the_database_refuses_to_alter_an_event(environment: Environment, statement: str) -> None:
    before = list(AuditEvent.objects.order_by("id").values())
    with pytest.raises(DatabaseError, match="audit events cannot be"), transaction.atomic():
        sql(statement)
    assert list(AuditEvent.objects.order_by("id").values()) == before


def test_the_orm_cannot_alter_an_event_either(environment: Environment) -> None:
    event = events(environment.org)[0]
    event.actor_label = "nobody"
    for write in (event.save, event.delete, AuditEvent.objects.all().delete):
        with pytest.raises(DatabaseError, match="audit events cannot be"), transaction.atomic():
            write()
    assert events(environment.org)[0].actor_label == "Headwater"


@pytest.mark.parametrize("column", ["actor_label", "action", "after_json", "reason", "at", "target_id", "hash"])
def test_verification_finds_an_altered_event(unsealed: Environment, column: str) -> None:
    value = "2020-01-01 00:00:00" if column == "at" else "tampered"
    sql(f"UPDATE audit_auditevent SET {column} = %s WHERE org_id = %s AND n = 2", value, unsealed.org_id.hex)
    report = verify_chain(unsealed.org_id)
    assert (report.events, report.problem) == (1, "event 2 was altered")


def test_verification_finds_a_missing_event(unsealed: Environment) -> None:
    sql("DELETE FROM audit_auditevent WHERE org_id = %s AND n = 2", unsealed.org_id.hex)
    assert verify_chain(unsealed.org_id).problem == "event 2 is missing"


def test_verification_finds_that_the_newest_events_are_gone(unsealed: Environment) -> None:
    last = len(events(unsealed.org))
    sql("DELETE FROM audit_auditevent WHERE org_id = %s AND n = %s", unsealed.org_id.hex, last)
    assert verify_chain(unsealed.org_id).problem == f"the newest events are missing: {last} to {last}"
    AuditHead.objects.filter(org_id=unsealed.org_id).update(n=last - 1)
    assert "recorded end" in verify_chain(unsealed.org_id).problem
    AuditHead.objects.filter(org_id=unsealed.org_id).delete()
    assert "recorded end" in verify_chain(unsealed.org_id).problem


def test_verification_finds_a_renumbered_chain(unsealed: Environment) -> None:
    sql("DELETE FROM audit_auditevent WHERE org_id = %s AND n = 1", unsealed.org_id.hex)
    sql("UPDATE audit_auditevent SET n = 1 WHERE org_id = %s AND n = 2", unsealed.org_id.hex)
    assert verify_chain(unsealed.org_id).problem == "event 1 does not follow event 0"


def test_the_log_tells_of_what_no_longer_exists_and_holds_no_secret(environment: Environment) -> None:
    key, text = make_key(environment)
    revoke_key(actor=SYSTEM, key=key, reason="leaked")
    created = events(environment.org, "access.key.created")[0]
    assert created.after["secret_sha256"] == "[redacted]"
    for event in AuditEvent.objects.all():
        for column in (event.before_json, event.after_json, event.related_json):
            assert key.secret_sha256 not in column
            assert text not in column
    assert events(environment.org, "access.key.revoked")[0].reason == "leaked"


def test_events_that_concern_no_organisation_are_the_platforms(db: None) -> None:
    from tests.builders.control import make_user

    user = make_user("Somebody@Example.com")
    event = AuditEvent.objects.get(org_id=PLATFORM)
    assert event.after["email"] == "somebody@example.com"
    assert event.target_id == user.public_id
    assert "password" not in event.after


def test_long_values_are_recorded_by_digest(environment: Environment) -> None:
    from headwater.control.kit.plain import plain_value

    assert plain_value("x" * 5_000)["length"] == 5_000
    assert plain_value({"a": 1}) == {"a": 1}
    create_organization(actor=SYSTEM, slug="long", name="y" * 200)
