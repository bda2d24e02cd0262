"""One way to run what happens by itself when a retention is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.promises.scenarios.catalog import _case

from headwater.control.catalog import quarantine
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment

SCENARIOS: Final[dict[str, Callable[[Environment], object]]] = {
    "catalog.quarantine.expired": lambda e: quarantine._expire_case(actor=SYSTEM, case=_case(e)),
}
