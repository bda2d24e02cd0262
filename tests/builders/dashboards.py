"""Dashboards for tests: one board with a tile of every kind over the small project's endpoint."""

from __future__ import annotations

from typing import Any

from tests.builders.projects import small_project

from headwater.control.catalog.apply import apply_project
from headwater.control.dashboards.actions import create_dashboard
from headwater.control.dashboards.models import Dashboard
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import parse_board

BOARD: dict[str, Any] = {
    "title": "Delays",
    "description": "How late they are",
    "refresh_seconds": 60,
    "filters": [{"name": "carrier", "label": "Carrier", "values": ["AA", "UA"], "default": "AA"}],
    "tiles": [
        {"name": "words", "kind": "text", "text": "## Hello\n\nThese are **delays**.", "width": 12, "height": 2},
        {"name": "most", "kind": "number", "endpoint": "worst", "value": "worst", "formats": {"worst": ",.1f"}},
        {
            "name": "chart", "kind": "chart", "title": "By carrier", "endpoint": "worst",
            "parameters": {"carrier": {"filter": "carrier"}}, "plot": {"mark": "bar", "x": "carrier", "y": "worst"},
        },
        {"name": "rows", "kind": "table", "endpoint": "worst", "parameters": {"carrier": "UA"}},
    ],
}  # fmt: skip


def board(**instead: Any) -> dict[str, Any]:
    """Return a dashboard as plain data, with other members in place of its own."""
    return BOARD | instead


def make_dashboard(environment: Environment, actor: Actor = SYSTEM, name: str = "delays", **instead: Any) -> Dashboard:
    """Make a dashboard, and the small project below it."""
    apply_project(actor=SYSTEM, environment=environment, resources=small_project())
    made = parse_board(board(**instead))
    return create_dashboard(actor=actor, environment=environment, name=name, board=made, note="first")
