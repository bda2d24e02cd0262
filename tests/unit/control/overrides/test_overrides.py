from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone
from tests.builders.control import events, newest_snapshot
from tests.builders.reviews import make_reviewer, make_scored_model

from headwater.control.kit.actions import Actor, bookkeeping
from headwater.control.orgs.models import Environment
from headwater.control.overrides.actions import approve_override, reject_override, request_override, revoke_override
from headwater.control.overrides.models import Override
from headwater.core.errors import HeadwaterError


@pytest.fixture
def colleague(environment: Environment) -> Actor:
    return make_reviewer(environment.org)


@pytest.fixture(autouse=True)
def _model(environment: Environment) -> None:
    make_scored_model(environment)


def ask(environment: Environment, actor: Actor, **changes: Any) -> Override:
    wanted: dict[str, Any] = {
        "target": "delay", "output": "score", "key": {"carrier": "UA"}, "value": 0.2,
        "valid_until": timezone.now() + timedelta(days=2), "reason": "strike at Newark",
    }  # fmt: skip
    return request_override(actor=actor, environment=environment, **wanted | changes)


def test_an_override_is_served_once_somebody_else_approved_it(
    environment: Environment, owner: Actor, colleague: Actor
) -> None:
    override = ask(environment, owner)
    assert newest_snapshot(environment).overrides == {}
    approve_override(actor=colleague, override=override, reason="confirmed by the airport")
    (spec,) = newest_snapshot(environment).overrides.values()
    assert (spec.id, spec.model, spec.output, spec.key, spec.value) == (
        override.public_id, "delay", "score", {"carrier": "UA"}, 0.2,
    )  # fmt: skip
    assert (spec.requested_by, spec.approved_by) == (owner.label, colleague.label)
    assert override.phase == "in force"
    assert events(environment.org, "overrides.override.approved")[0].reason == "confirmed by the airport"


def test_nobody_approves_what_they_asked_for(environment: Environment, owner: Actor) -> None:
    override = ask(environment, owner)
    with pytest.raises(HeadwaterError, match="nobody approves") as caught:
        approve_override(actor=owner, override=override)
    assert caught.value.code == "forbidden"
    with bookkeeping(), transaction.atomic(), pytest.raises(IntegrityError):
        Override.unscoped.filter(pk=override.pk).update(state="approved", decided_by_id=owner.id)


def test_a_revoked_override_leaves_the_snapshot(environment: Environment, owner: Actor, colleague: Actor) -> None:
    override = approve_override(actor=colleague, override=ask(environment, owner))
    revoke_override(actor=owner, override=override, reason="the strike is over")
    assert newest_snapshot(environment).overrides == {}
    assert override.phase == "revoked"


def test_a_request_may_be_withdrawn_or_rejected(environment: Environment, owner: Actor, colleague: Actor) -> None:
    withdrawn = revoke_override(actor=owner, override=ask(environment, owner))
    rejected = reject_override(actor=colleague, override=ask(environment, owner), reason="no strike")
    assert (withdrawn.phase, rejected.phase) == ("withdrawn", "rejected")
    with pytest.raises(HeadwaterError, match="already"):
        approve_override(actor=colleague, override=rejected)


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"output": "scores"}, "output"),
        ({"value": "much"}, "value"),
        ({"value": True}, "value"),
        ({"value": float("nan")}, "value"),
        ({"key": {}}, "key"),
        ({"key": {"airline": "UA"}}, "key"),
        ({"key": {"hour": "7"}}, "key"),
        ({"key": {"carrier": ["UA"]}}, "key"),
    ],
)
def test_what_does_not_fit_the_signature_is_refused_by_name(
    environment: Environment, owner: Actor, changes: dict[str, Any], path: str
) -> None:
    with pytest.raises(HeadwaterError) as caught:
        ask(environment, owner, **changes)
    assert caught.value.code == "invalid_parameter"
    assert caught.value.extra["errors"][0]["path"] == path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reason": "  "}, "reason"),
        ({"valid_until": timezone.now() - timedelta(hours=1)}, "future"),
        ({"valid_until": timezone.now() + timedelta(days=400)}, "366"),
        ({"by": "name"}, "neither inputs nor entity"),
    ],
)
def test_an_override_needs_a_reason_and_an_end(
    environment: Environment, owner: Actor, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(HeadwaterError, match=words):
        ask(environment, owner, **changes)


def test_two_overrides_of_the_same_never_overlap(environment: Environment, owner: Actor, colleague: Actor) -> None:
    now = timezone.now()
    first = ask(environment, owner, valid_until=now + timedelta(days=1))
    second = ask(environment, owner, valid_until=now + timedelta(days=3))
    approve_override(actor=colleague, override=first)
    with pytest.raises(HeadwaterError, match=first.public_id) as caught:
        approve_override(actor=colleague, override=second)
    assert caught.value.code == "conflict"
    with pytest.raises(HeadwaterError, match="overrides the same"):
        ask(environment, owner, key={"carrier": "UA"})
    later = ask(environment, owner, valid_from=first.valid_until, valid_until=now + timedelta(days=3))
    assert approve_override(actor=colleague, override=later).phase == "scheduled"
    other = ask(environment, owner, key={"carrier": "AA"})
    assert approve_override(actor=colleague, override=other).phase == "in force"


def test_what_was_asked_for_cannot_be_changed_behind_its_back(environment: Environment, owner: Actor) -> None:
    override = ask(environment, owner)
    for changes in ({"value": 0.9}, {"valid_until": timezone.now() + timedelta(days=99)}, {"reason": "other"}):
        with bookkeeping(), transaction.atomic(), pytest.raises(DatabaseError, match="sealed"):
            Override.unscoped.filter(pk=override.pk).update(**changes)


def test_approving_twice_changes_nothing(environment: Environment, owner: Actor, colleague: Actor) -> None:
    override = approve_override(actor=colleague, override=ask(environment, owner))
    assert approve_override(actor=colleague, override=override).revision == override.revision
    assert len(events(environment.org, "overrides.override.approved")) == 1


def test_who_may_not_approve_does_not(environment: Environment, owner: Actor) -> None:
    override = ask(environment, owner)
    for role in ("analyst", "developer"):
        with pytest.raises(HeadwaterError, match=r"override\.approve"):
            approve_override(actor=make_reviewer(environment.org, role), override=override)
