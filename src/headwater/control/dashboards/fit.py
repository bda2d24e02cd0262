"""Whether a dashboard fits the endpoints of an environment."""

from __future__ import annotations

from headwater.control.dashboards.queries import shapes_of
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import Board
from headwater.core.dashboards.fit import misfits
from headwater.core.dashboards.reading import invalid


def require_fit(environment: Environment, board: Board) -> None:
    """Raise ``dashboard_invalid`` with everything about a dashboard that does not fit the endpoints there are."""
    found = list(misfits(board, shapes_of(environment)))
    if found:
        raise invalid(found)
