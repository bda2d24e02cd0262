"""Every change of state is an action that leaves an audit row and an event in the same transaction."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
import tests.promises.scenarios
from tests.builders.control import (
    _sealed_again,
    committed,
    control_home,
    django_db_modify_db_settings,
    environment,
)

from headwater.control.audit.models import AuditEvent
from headwater.control.audit.verify import verify_all
from headwater.control.kit.actions import ACTIONS
from headwater.control.kit.models import Outbox
from headwater.control.kit.tenancy import Entity
from headwater.control.orgs.models import Environment

__all__ = ["_sealed_again", "committed", "control_home", "django_db_modify_db_settings", "environment"]

SCENARIOS = {
    name: scenario
    for module in pkgutil.iter_modules(tests.promises.scenarios.__path__, "tests.promises.scenarios.")
    for name, scenario in importlib.import_module(module.name).SCENARIOS.items()
}
REGISTERED = sorted(name for name, spec in ACTIONS.items() if spec.function.__module__.startswith("headwater."))


@pytest.mark.parametrize("name", REGISTERED)
def test_an_action_leaves_an_audit_row_and_an_event(name: str, environment: Environment) -> None:
    assert name in SCENARIOS, f"tests/promises/scenarios says nothing about how to run {name}"
    before = AuditEvent.objects.filter(action=name).count(), Outbox.objects.filter(topic=name).count()
    SCENARIOS[name](environment)
    rows = AuditEvent.objects.filter(action=name)
    assert rows.count() > before[0]
    assert rows.count() - before[0] == Outbox.objects.filter(topic=name).count() - before[1]
    newest = rows.order_by("-id")[0]
    assert newest.after_json != "{}" or newest.before_json != "{}", "the row says what changed"
    assert all(report.is_whole for report in verify_all())


def test_no_scenario_is_about_an_action_that_is_gone() -> None:
    assert set(SCENARIOS) <= set(REGISTERED)


def test_actions_are_named_for_what_happened() -> None:
    for name in REGISTERED:
        app, thing, verb = name.split(".")
        assert app, name
        assert thing, name
        assert verb.endswith(("ed", "set", "made_admin", "logged_in", "rolled_back")), name


def test_every_table_of_a_tenant_is_guarded() -> None:
    from django.apps import apps

    unguarded = {
        model.__name__
        for model in apps.get_models()
        if model.__module__.startswith("headwater.") and not issubclass(model, Entity)
    }
    # What machines write about themselves, and the user, which Django's own forms save.
    machines = {
        "AuditCheckpoint",
        "AuditEvent",
        "AuditHead",
        "CacheEntry",
        "FailedLogins",
        "FlagReporter",
        "FlagUsage",
        "KeyUse",
        "Outbox",
        "ReviewCursor",
        "Snapshot",
        "SnapshotAck",
        "VersionWatch",
    }
    assert unguarded <= machines | {"User"}
