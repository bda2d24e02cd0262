"""Flags in the control plane: created, changed with care, checked as a whole, and in the snapshot."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone
from tests.builders.control import events, make_account, make_key, make_member, newest_snapshot

from headwater.control.access.actions import grant
from headwater.control.access.queries import actor_for_key, actor_for_user, get_role
from headwater.control.flags.actions import (
    archive_flag,
    change_config,
    change_flag,
    config_of,
    create_flag,
    restore_flag,
    toggle_flag,
)
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.actions import create_environment
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

CONTENT: dict[str, Any] = {
    "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "kind": "release",
    "owner": "a team", "remove_by": date(2027, 1, 1),
}  # fmt: skip
RULE = {"when": "country = 'DE'", "variant": "on"}


def make(owner: Actor, environment: Environment, key: str = "new-home", **content: Any) -> Flag:
    return create_flag(actor=owner, project=environment.project, key=key, content=CONTENT | content)


def change(owner: Actor, flag: Flag, environment: Environment, **changes: Any) -> FlagConfig:
    reason = changes.pop("reason", "")
    return change_config(actor=owner, config=config_of(flag, environment), changes=changes, reason=reason)


@pytest.fixture
def production(environment: Environment) -> Environment:
    return create_environment(actor=SYSTEM, project=environment.project, key="production", protected=True)


def test_a_new_flag_is_served_and_off(environment: Environment, owner: Actor) -> None:
    make(owner, environment, description="The new home page")
    spec = newest_snapshot(environment).flags["new-home"]
    assert (spec.enabled, spec.default_variant, spec.off_variant, spec.revision) == (False, "off", "off", 1)
    assert spec.description == "The new home page"
    (event,) = events(environment.org, "flags.flag.created")
    assert event.actor_label == owner.label


def test_a_change_is_in_the_snapshot_and_in_the_audit_log_with_what_was_before(
    environment: Environment, owner: Actor
) -> None:
    flag = make(owner, environment)
    config = change(owner, flag, environment, enabled=True, rules=[RULE], reason="go")
    spec = newest_snapshot(environment).flags["new-home"]
    assert spec.enabled
    assert spec.rules[0].when == "country = 'DE'"
    assert (spec.revision, config.revision) == (2, 2)
    (event,) = events(environment.org, "flags.config.changed")
    assert event.reason == "go"
    assert '"rules":[]' in event.before_json
    assert "country = 'DE'" in event.after_json
    toggle_flag(actor=owner, config=config, enabled=False)
    assert not newest_snapshot(environment).flags["new-home"].enabled


def test_changing_nothing_leaves_no_trace(environment: Environment, owner: Actor) -> None:
    flag = make(owner, environment)
    change(owner, flag, environment, enabled=False)
    change_flag(actor=owner, flag=flag, content=CONTENT)
    assert events(environment.org, "flags.config.changed") == events(environment.org, "flags.flag.changed") == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"rules": [{"when": "country =", "variant": "on"}]}, "rules[0].when"),
        ({"rules": [{"variant": "blue"}]}, "rules[0].variant"),
        ({"rules": [{"variant": 3}]}, "rules[0].variant"),
        ({"default_variant": "blue"}, "default_variant"),
        ({"prerequisites": [{"flag": "gone", "variants": ["on"]}]}, "prerequisites[0].flag"),
        ({"prerequisites": [{"flag": "new-home", "variants": ["on"]}]}, "prerequisites"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(
    environment: Environment, owner: Actor, changes: dict[str, Any], path: str
) -> None:
    flag = make(owner, environment)
    with pytest.raises(HeadwaterError) as caught:
        change(owner, flag, environment, **changes)
    assert caught.value.code == "flag_invalid"
    assert caught.value.extra["errors"][0]["path"] == path
    assert newest_snapshot(environment).flags["new-home"].rules == ()


def test_circles_of_prerequisites_are_refused(environment: Environment, owner: Actor) -> None:
    one, two = make(owner, environment, "one"), make(owner, environment, "two")
    change(owner, one, environment, prerequisites=[{"flag": "two", "variants": ["on"]}])
    with pytest.raises(HeadwaterError, match="two → one → two"):
        change(owner, two, environment, prerequisites=[{"flag": "one", "variants": ["on"]}])


def test_a_variant_that_others_wait_for_stays(environment: Environment, owner: Actor) -> None:
    base, flag = make(owner, environment, "base"), make(owner, environment)
    change(owner, flag, environment, prerequisites=[{"flag": "base", "variants": ["on"]}])
    with pytest.raises(HeadwaterError, match="'new-home' waits for 'on'"):
        change_flag(actor=owner, flag=base, content={"variants": {"yes": True, "off": False}})
    base.refresh_from_db()
    with pytest.raises(HeadwaterError, match="'new-home' waits for 'base'"):
        archive_flag(actor=owner, flag=base)


def test_a_variant_that_rules_give_stays(environment: Environment, owner: Actor) -> None:
    flag = make(owner, environment)
    change(owner, flag, environment, rules=[RULE])
    with pytest.raises(HeadwaterError, match="there is no variant 'on'"):
        change_flag(actor=owner, flag=flag, content={"variants": {"off": False}})
    assert newest_snapshot(environment).flags["new-home"].variants == {"on": True, "off": False}


def test_a_type_is_for_ever(environment: Environment, owner: Actor) -> None:
    with pytest.raises(HeadwaterError, match="applications rely on that"):
        change_flag(actor=owner, flag=make(owner, environment), content={"type": "string"})


def test_only_permanent_flags_may_stay_for_ever(environment: Environment, owner: Actor) -> None:
    with pytest.raises(HeadwaterError, match="say by when it is removed"):
        make(owner, environment, remove_by=None)
    assert make(owner, environment, kind="permanent", remove_by=None).remove_by is None


def test_a_key_is_unique_and_well_formed(environment: Environment, owner: Actor) -> None:
    make(owner, environment)
    with pytest.raises(HeadwaterError) as caught:
        make(owner, environment)
    assert caught.value.code == "conflict"
    with pytest.raises(HeadwaterError, match="lower-case"):
        make(owner, environment, "New Home")


def test_two_people_at_once_do_not_overwrite_each_other(environment: Environment, owner: Actor) -> None:
    flag = make(owner, environment)
    mine, theirs = config_of(flag, environment), config_of(flag, environment)
    toggle_flag(actor=owner, config=theirs, enabled=True)
    with pytest.raises(HeadwaterError) as caught:
        change_config(actor=owner, config=mine, changes={"rules": [RULE]})
    assert caught.value.code == "conflict"


def test_a_protected_environment_wants_a_reason(
    environment: Environment, production: Environment, owner: Actor
) -> None:
    flag = make(owner, environment)
    with pytest.raises(HeadwaterError, match="production is protected"):
        change(owner, flag, production, enabled=True)
    change(owner, flag, production, enabled=True, reason="tested in dev")
    with pytest.raises(HeadwaterError, match="production is protected"):
        change_flag(actor=owner, flag=flag, content={"off_variant": "on"})
    change_flag(actor=owner, flag=flag, content={"description": "words change nothing"})


def test_whoever_may_change_dev_alone_changes_nothing_in_production(
    environment: Environment, production: Environment, owner: Actor
) -> None:
    flag = make(owner, environment)
    account = make_account(environment.project, "ci", role="producer")
    grant(actor=SYSTEM, scope=environment, role=get_role("developer"), service_account=account)
    key, _text = make_key(environment, account)
    ci = actor_for_key(key)
    change(ci, flag, environment, enabled=True)
    for act in (
        lambda: change(ci, flag, production, enabled=True, reason="try"),
        lambda: change_flag(actor=ci, flag=flag, content={"off_variant": "on"}, reason="try"),
        lambda: archive_flag(actor=ci, flag=flag, reason="try"),
    ):
        with pytest.raises(HeadwaterError) as caught:
            act()
        assert caught.value.code == "forbidden"


def test_whoever_lacks_the_permission_changes_nothing(environment: Environment, owner: Actor) -> None:
    flag = make(owner, environment)
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    for act in (
        lambda: make(analyst, environment, "mine"),
        lambda: toggle_flag(actor=analyst, config=config_of(flag, environment), enabled=True),
        lambda: archive_flag(actor=analyst, flag=flag),
    ):
        with pytest.raises(HeadwaterError) as caught:
            act()
        assert caught.value.code == "forbidden"


def test_an_archived_flag_is_not_served_until_it_is_restored(environment: Environment, owner: Actor) -> None:
    flag = make(owner, environment)
    archive_flag(actor=owner, flag=flag)
    assert newest_snapshot(environment).flags == {}
    with pytest.raises(HeadwaterError, match="is archived"):
        toggle_flag(actor=owner, config=config_of(flag, environment), enabled=True)
    restore_flag(actor=owner, flag=flag)
    assert set(newest_snapshot(environment).flags) == {"new-home"}


def test_an_environment_made_later_serves_the_flag_off(environment: Environment, owner: Actor) -> None:
    flag = make(owner, environment)
    later = create_environment(actor=SYSTEM, project=environment.project, key="staging")
    spec = newest_snapshot(later).flags["new-home"]
    assert not spec.enabled
    change(owner, flag, later, enabled=True, enabled_until=timezone.now() + timedelta(days=1))
    served = newest_snapshot(later).flags["new-home"]
    assert served.enabled
    assert served.salt == spec.salt
