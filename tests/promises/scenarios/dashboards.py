"""How each action on dashboards is run."""

from __future__ import annotations

from tests.builders.dashboards import board, make_dashboard

from headwater.control.dashboards.actions import (
    archive_dashboard,
    restore_dashboard,
    revert_dashboard,
    save_dashboard,
)
from headwater.control.dashboards.models import Dashboard
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import parse_board


def save(environment: Environment) -> Dashboard:
    made = make_dashboard(environment)
    return save_dashboard(actor=SYSTEM, dashboard=made, board=parse_board(board(title="Later")), note="renamed")


def revert(environment: Environment) -> None:
    revert_dashboard(actor=SYSTEM, dashboard=save(environment), number=1)


def archive(environment: Environment) -> Dashboard:
    return archive_dashboard(actor=SYSTEM, dashboard=make_dashboard(environment))


def restore(environment: Environment) -> None:
    restore_dashboard(actor=SYSTEM, dashboard=archive(environment))


SCENARIOS = {
    "dashboards.dashboard.created": make_dashboard,
    "dashboards.dashboard.saved": save,
    "dashboards.dashboard.reverted": revert,
    "dashboards.dashboard.archived": archive,
    "dashboards.dashboard.restored": restore,
}
