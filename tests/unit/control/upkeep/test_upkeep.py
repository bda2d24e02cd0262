from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from kombu.utils.url import url_to_parts
from tests.builders.control import break_seals, events, make_account, make_environment, make_key, newest_snapshot

from headwater.control import configuration
from headwater.control.access.models import Grant
from headwater.control.audit.models import AuditEvent
from headwater.control.audit.record import PLATFORM
from headwater.control.celery import app, broker_url
from headwater.control.kit.models import Outbox
from headwater.control.orgs.models import Environment
from headwater.control.upkeep import tasks
from headwater.control.upkeep.ledger import LedgerReport, add_up, check_ledger
from headwater.core.settings import Settings, load_settings

ROW = {"dataset": "flights", "principal_id": "sa_1", "minute": 7}


def answering(status: int, body: Any) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(status, json=body))


def test_a_balanced_ledger_adds_up() -> None:
    counts = {"received": 10, "accepted": 7, "duplicate": 1, "stale": 0, "quarantined": 1, "rejected": 1}
    report = add_up({"rows": [ROW | {"counts": counts}], "balanced": True})
    assert report == LedgerReport(checked=True, balanced=True, received=10)


def test_a_row_that_vanished_is_named() -> None:
    counts = {"received": 10, "accepted": 9}
    report = add_up({"rows": [ROW | {"counts": counts}], "balanced": True})
    assert report.problems == ("flights, sa_1, minute 7: 10 received, 9 accounted for",)
    assert not report.balanced
    assert not add_up({"rows": [], "balanced": False}).balanced


def test_the_services_are_asked_with_the_node_token(environment: Environment) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"rows": [], "balanced": True})

    assert check_ledger(environment, transport=httpx.MockTransport(answer)).checked
    assert seen[0].url.path == f"/internal/v1/ledger/{environment.public_id}"
    assert seen[0].headers["Authorization"] == f"Bearer {configuration.home().node_token.read_text()}"


@pytest.mark.parametrize(
    "transport",
    [answering(500, {}), answering(200, []), answering(200, {"rows": [{}]}), answering(200, {"rows": 1})],
)
def test_services_that_do_not_answer_are_not_a_balanced_ledger(
    environment: Environment, transport: httpx.MockTransport
) -> None:
    report = check_ledger(environment, transport=transport)
    assert not report.checked
    assert not report.balanced
    assert "services" in report.problems[0]


def test_the_nightly_check_of_the_ledger_says_when_services_are_away(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Settings.model_validate({"home": configuration.current().home, "services": {"url": "http://127.0.0.1:1"}})
    monkeypatch.setattr(configuration, "current", lambda: away)
    assert list(tasks.check_ledger()) == [environment.public_id]
    event = events(environment.org, "audit.ledger.checked")[0]
    assert event.after["checked"] is False
    assert "cannot be asked" in event.after["problems"][0]
    assert Outbox.objects.filter(topic="audit.ledger.checked").exists()


def test_the_nightly_verification_notes_each_chain(environment: Environment) -> None:
    assert tasks.verify_audit() == {}
    event = events(environment.org, "audit.chain.verified")[0]
    assert (event.after["whole"], event.after["events"]) == (True, event.n - 1)
    assert tasks.verify_audit() == {}


def test_the_nightly_verification_finds_what_was_altered(committed: None) -> None:
    environment = make_environment()
    break_seals("audit_")
    AuditEvent.objects.filter(n=1).exclude(org_id=PLATFORM).update(actor_label="x")
    assert tasks.verify_audit() == {str(environment.org_id): "event 1 was altered"}
    assert events(environment.org, "audit.chain.verified")[0].after["problem"] == "event 1 was altered"


def test_the_relay_empties_the_outbox_once(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[str] = []
    monkeypatch.setattr(tasks, "publish_to_log", lambda event: published.append(str(event.id)))
    waiting = Outbox.objects.filter(published_at=None).count()
    assert waiting > 0
    assert tasks.relay_outbox() == waiting
    assert tasks.relay_outbox() == 0
    assert len(set(published)) == len(published) == waiting


def test_reconciling_drops_what_ran_out(environment: Environment) -> None:
    account = make_account(environment.project)
    key, _ = make_key(environment, account)
    assert tasks.reconcile_snapshots() == 0
    Grant._base_manager.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert tasks.reconcile_snapshots() == 1
    assert newest_snapshot(environment).keys[key.secret_sha256].allowances == frozenset()


def test_every_scheduled_task_exists() -> None:
    app.loader.import_default_modules()
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in app.tasks


def test_the_brokers_socket_may_lie_in_a_home_of_any_name(tmp_path: Any) -> None:
    settings = load_settings({"home": "/tmp/a#b ?ö 50%/h"}, environ={}, file=tmp_path / "none")
    assert url_to_parts(broker_url(settings)).path == "/tmp/a#b ?ö 50%/h/run/valkey.sock".removeprefix("/")


def test_published_events_are_kept_for_a_while_and_waiting_ones_until_they_are_out(environment: Environment) -> None:
    month_ago = timezone.now() - timedelta(days=31)
    waiting, old, fresh = list(Outbox.objects.order_by("id")[:3])
    Outbox.objects.filter(pk=waiting.pk).update(created_at=month_ago)
    Outbox.objects.filter(pk=old.pk).update(published_at=month_ago)
    Outbox.objects.filter(pk=fresh.pk).update(published_at=timezone.now())
    before = Outbox.objects.count()
    assert tasks.clear_outbox() == 1
    assert Outbox.objects.count() == before - 1
    assert not Outbox.objects.filter(pk=old.pk).exists()


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        ({}, "redis+socket:///h/run/valkey.sock"),
        ({"cache.url": "redis://cache/0"}, "redis://cache/0"),
        ({"cache.url": "redis://cache/0", "broker.url": "amqp://rabbit//"}, "amqp://rabbit//"),
    ],
)
def test_the_broker_is_the_nearest_one_that_is_set(flags: dict[str, str], url: str, tmp_path: Any) -> None:
    settings = load_settings(flags | {"home": "/h"}, environ={}, file=tmp_path / "none")
    assert broker_url(settings) == url
