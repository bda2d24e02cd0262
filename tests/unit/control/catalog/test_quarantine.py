"""Verdicts on quarantined rows: asked of the services, noted before and after."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from tests.builders.control import events, make_member
from tests.builders.http import environment_path, with_session
from tests.builders.projects import small_project
from tests.fakes.data_plane import FakeServices, no_services, quarantine_group, services

from headwater.control.access.queries import actor_for_user
from headwater.control.catalog.apply import apply_project
from headwater.control.catalog.data_plane import QuarantineGroup
from headwater.control.catalog.models import Dataset, QuarantineCase
from headwater.control.catalog.quarantine import discard_case, replay_case, sync_cases
from headwater.control.catalog.tasks import sync_quarantine
from headwater.control.kit.actions import Actor
from headwater.control.kit.context import bookkeeping
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

__all__ = ["no_services", "services"]

FINGERPRINT = str(quarantine_group()["fingerprint"])


@pytest.fixture
def dataset(environment: Environment, owner: Actor) -> Dataset:
    apply_project(actor=owner, environment=environment, resources=small_project())
    found: Dataset = Dataset.objects.for_org(environment.org).get()
    return found


def test_a_replay_is_asked_of_the_services_and_its_counts_are_kept(
    environment: Environment, dataset: Dataset, owner: Actor, services: FakeServices
) -> None:
    services.fill()
    resolution = replay_case(
        actor=owner, dataset=dataset, environment=environment, fingerprint=FINGERPRINT, reason="contract mended"
    )
    assert resolution.counts["accepted"] == 4
    assert services.verdicts == [
        {
            "environment": environment.public_id,
            "dataset": "flights",
            "verdict": "replay",
            "fingerprint": FINGERPRINT,
            "requested_by": owner.id,
        }
    ]
    case = QuarantineCase.objects.for_org(environment.org).get()
    assert (case.state, case.open_count, case.result["counts"]["accepted"]) == ("replayed", 0, 4)
    requested, resolved = (
        events(environment.org, "catalog.quarantine.requested"),
        events(environment.org, "catalog.quarantine.resolved"),
    )
    assert [event.reason for event in requested + resolved] == ["contract mended"] * 2
    assert resolved[0].after["result"]["counts"]["accepted"] == 4


def test_a_discard_is_a_verdict_too(
    environment: Environment, dataset: Dataset, owner: Actor, services: FakeServices
) -> None:
    services.fill()
    discard_case(actor=owner, dataset=dataset, environment=environment, fingerprint=FINGERPRINT)
    assert QuarantineCase.objects.for_org(environment.org).get().state == "discarded"


def test_what_the_services_refuse_is_noted_and_passed_on(
    environment: Environment, dataset: Dataset, owner: Actor, services: FakeServices
) -> None:
    services.fill()
    services.refusal = (503, {"code": "journal_unavailable", "detail": "the disk is full"})
    with pytest.raises(HeadwaterError) as caught:
        replay_case(actor=owner, dataset=dataset, environment=environment, fingerprint=FINGERPRINT)
    assert caught.value.code == "journal_unavailable"
    assert QuarantineCase.objects.for_org(environment.org).get().state == "open"
    (failed,) = events(environment.org, "catalog.quarantine.failed")
    assert "the disk is full" in failed.related_json + failed.after_json


def test_while_services_are_away_nothing_is_noted(
    environment: Environment, dataset: Dataset, owner: Actor, no_services: None
) -> None:
    with pytest.raises(HeadwaterError) as caught:
        replay_case(actor=owner, dataset=dataset, environment=environment, fingerprint=FINGERPRINT)
    assert caught.value.code == "services_unavailable"
    assert not events(environment.org, "catalog.quarantine.requested")


def test_without_the_permission_the_services_are_not_asked(
    environment: Environment, dataset: Dataset, services: FakeServices
) -> None:
    services.fill()
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    with pytest.raises(HeadwaterError) as caught:
        replay_case(actor=analyst, dataset=dataset, environment=environment, fingerprint=FINGERPRINT)
    assert caught.value.code == "forbidden"
    assert services.verdicts == []
    assert services.tokens == set()


def test_an_unknown_group_is_not_found(
    environment: Environment, dataset: Dataset, owner: Actor, services: FakeServices
) -> None:
    services.fill()
    with pytest.raises(HeadwaterError) as caught:
        replay_case(actor=owner, dataset=dataset, environment=environment, fingerprint="other")
    assert caught.value.code == "not_found"
    assert services.verdicts == []


def test_cases_follow_the_services_and_open_again(environment: Environment, dataset: Dataset, owner: Actor) -> None:
    group = QuarantineGroup.model_validate(quarantine_group())
    sync_cases(environment, [group])
    case = QuarantineCase.objects.for_org(environment.org).get()
    assert (case.state, case.open_count) == ("open", 4)
    sync_cases(environment, [group.model_copy(update={"open": 0})])
    case.refresh_from_db()
    assert case.open_count == 0
    sync_cases(environment, [group.model_copy(update={"open": 2, "count": 6})])
    case.refresh_from_db()
    assert (case.state, case.open_count, case.count) == ("open", 2, 6)
    assert len(events(environment.org, "catalog.quarantine.opened")) == 1


@pytest.mark.parametrize("state", ["open", "discarded"])
def test_a_case_expires_with_its_rows_and_not_before(
    environment: Environment, dataset: Dataset, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = QuarantineGroup.model_validate(quarantine_group())
    sync_cases(environment, [group])
    case = QuarantineCase.objects.for_org(environment.org).get()
    with bookkeeping():
        QuarantineCase.objects.for_org(environment.org).update(state=state)
    for days, expired in ((29, False), (31, True), (32, True)):
        later = group.last_at + timedelta(days=days)
        monkeypatch.setattr(timezone, "now", lambda later=later: later)
        sync_cases(environment, [])
        case.refresh_from_db()
        assert (case.count == 0) == expired
        assert case.state == ("expired" if expired and state == "open" else state)
    assert len(events(environment.org, "catalog.quarantine.expired")) == 1
    sync_cases(environment, [group])
    case.refresh_from_db()
    assert (case.state, case.count) == ("open", group.count)


def test_a_resolved_case_opens_again_when_rows_join_it(
    environment: Environment, dataset: Dataset, owner: Actor, services: FakeServices
) -> None:
    services.fill()
    replay_case(actor=owner, dataset=dataset, environment=environment, fingerprint=FINGERPRINT)
    sync_cases(environment, [QuarantineGroup.model_validate(quarantine_group(open=1))])
    assert QuarantineCase.objects.for_org(environment.org).get().state == "open"
    assert len(events(environment.org, "catalog.quarantine.reopened")) == 1


def test_a_case_stays_open_while_rows_of_its_group_wait(
    environment: Environment, dataset: Dataset, owner: Actor, services: FakeServices
) -> None:
    services.fill()
    services.unresolved = 1
    resolution = replay_case(actor=owner, dataset=dataset, environment=environment, fingerprint=FINGERPRINT)
    assert (resolution.case.state, resolution.case.open_count) == ("open", 1)


def test_the_regular_task_opens_cases_and_survives_silence(
    environment: Environment, dataset: Dataset, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.fill()
    assert sync_quarantine() == 1
    assert QuarantineCase.objects.for_org(environment.org).get().open_count == 4
    monkeypatch.setattr(services, "answer", lambda *_: (500, {}))
    assert sync_quarantine() == 0


def test_the_api_lists_groups_and_resolves_them(
    environment: Environment, dataset: Dataset, services: FakeServices
) -> None:
    services.fill()
    api = with_session(environment)
    path = environment_path(environment, "quarantine")
    (item,) = api.get(f"{path}?dataset=flights").body["items"]
    assert (item["state"], item["group"]["open"], len(item["group"]["samples"])) == ("open", 4, 2)
    answer = api.post(f"{path}/replay", {"dataset": "flights", "fingerprint": FINGERPRINT, "reason": "mended"})
    assert (answer.body["state"], answer.body["counts"]["accepted"]) == ("replayed", 4)
    assert api.get(path).body["items"][0]["state"] == "replayed"


def test_the_api_says_that_services_are_away(environment: Environment, dataset: Dataset, no_services: None) -> None:
    answer = with_session(environment).get(environment_path(environment, "quarantine"))
    assert (answer.status, answer.body["code"]) == (503, "services_unavailable")
    assert answer.body["hint"]
