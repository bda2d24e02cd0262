"""Counts of evaluations, and which flags have had their day."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

from django.test import Client
from django.utils import timezone
from tests.builders.control import events

from headwater.control import configuration
from headwater.control.flags.actions import change_config, config_of, create_flag
from headwater.control.flags.models import Flag, FlagConfig, FlagUsage
from headwater.control.flags.stale import stale_flags
from headwater.control.flags.usage import counts_by_day, forget_old_usage, last_evaluated
from headwater.control.kit.actions import Actor
from headwater.control.kit.context import bookkeeping
from headwater.control.orgs.models import Environment

PATH = "/internal/v1/flags/usage"


def make(owner: Actor, environment: Environment, key: str = "new-home", **content: Any) -> Flag:
    fields: dict[str, Any] = {
        "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "kind": "release",
        "owner": "a team", "remove_by": date(2126, 1, 1),
    }  # fmt: skip
    return create_flag(actor=owner, project=environment.project, key=key, content=fields | content)


def report(environments: dict[str, Any], *, node: str = "nod_1", batch: int = 1, token: str | None = None) -> int:
    token = token if token is not None else configuration.home().node_token.read_text().strip()
    body = json.dumps({"node": node, "batch": batch, "environments": environments})
    return (
        Client()
        .post(PATH, body, content_type="application/json", headers={"authorization": f"Bearer {token}"})
        .status_code
    )


def age(flag: Flag, days: int) -> None:
    """Make a flag and its configurations as old as that."""
    then = timezone.now() - timedelta(days=days)
    with bookkeeping():
        Flag.unscoped.filter(pk=flag.pk).update(created_at=then)
        FlagConfig.unscoped.filter(flag=flag).update(changed_at=then)


def test_a_report_is_counted_once_however_often_it_comes(environment: Environment, owner: Actor) -> None:
    make(owner, environment)
    counts = {environment.public_id: {"bulk": 7, "flags": {"new-home": {"on": 3, "off": 1}, "gone": {"on": 9}}}}
    assert [report(counts), report(counts), report(counts, batch=2), report(counts, node="nod_2")] == [204] * 4
    rows = FlagUsage.objects.for_org(environment.org_id).order_by("key", "variant")
    assert [(row.key, row.variant, row.count) for row in rows] == [
        ("*", "", 21), ("new-home", "off", 3), ("new-home", "on", 9),
    ]  # fmt: skip
    assert [row["count"] for row in counts_by_day(environment, "new-home")] == [3, 9]
    assert set(last_evaluated(environment)) == {"*", "new-home"}
    assert not [event for event in events(environment.org) if "usage" in event.action]


def test_reports_need_the_node_token_and_a_form(environment: Environment) -> None:
    assert report({}, token="wrong") == 401
    token = configuration.home().node_token.read_text().strip()
    for body in (b"{", b'{"node": "", "batch": 1, "environments": {}}', b"[]"):
        reply = Client().post(PATH, body, content_type="application/json", headers={"authorization": f"Bearer {token}"})
        assert reply.status_code == 400
    assert report({"env_nonsense": {"bulk": 1}, environment.public_id: {}}) == 204


def test_old_counts_are_forgotten(environment: Environment, owner: Actor) -> None:
    make(owner, environment)
    report({environment.public_id: {"flags": {"new-home": {"on": 1}}}})
    assert forget_old_usage() == 0
    with bookkeeping():
        FlagUsage.unscoped.update(day=date(2020, 1, 1))
    assert forget_old_usage() == 1


def test_flags_that_have_had_their_day_are_named_with_the_reason(environment: Environment, owner: Actor) -> None:
    rolled = make(owner, environment, "rolled-out")
    change_config(
        actor=owner,
        config=config_of(rolled, environment),
        changes={"enabled": True, "rules": [{"variant": "on", "share_bps": 10_000}]},
    )
    late = make(owner, environment, "late", remove_by=date(2020, 1, 1))
    fresh = make(owner, environment, "fresh")
    half = make(owner, environment, "half")
    change_config(
        actor=owner,
        config=config_of(half, environment),
        changes={"enabled": True, "rules": [{"variant": "on", "share_bps": 5_000}]},
    )
    for flag in (rolled, late, half):
        age(flag, 60)
    report({environment.public_id: {"bulk": 1, "flags": {"rolled-out": {"on": 1}, "half": {"on": 1}}}})
    found = {item.flag.key: item.reasons for item in stale_flags(environment)}
    assert set(found) == {"rolled-out", "late"}
    assert found["rolled-out"][0].startswith("everybody gets on since ")
    assert found["late"][0] == "it was to be removed by 2020-01-01"
    assert "requests for all flags include it" in found["late"][1]
    assert fresh.key not in found
    assert stale_flags(environment, days=90)[0].reasons == ("it was to be removed by 2020-01-01",)
