"""Checking the ledger: whether what the services count adds up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from headwater.control import configuration
from headwater.control.orgs.models import Environment

PARTS: Final = ("accepted", "duplicate", "stale", "quarantined", "rejected")
TIMEOUT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What a check found. ``checked`` is False when the services could not be asked."""

    checked: bool
    balanced: bool = False
    received: int = 0
    problems: tuple[str, ...] = ()


def check_ledger(environment: Environment, *, transport: httpx.BaseTransport | None = None) -> LedgerReport:
    """Ask the services for the ledger of ``environment`` and add it up.

    Per dataset, principal and minute, ``received`` must equal the sum of what became of the rows.
    """
    settings, home = configuration.current(), configuration.home()
    try:
        token = home.node_token.read_text(encoding="ascii").strip()
        with httpx.Client(base_url=settings.services_url, timeout=TIMEOUT_SECONDS, transport=transport) as client:
            reply = client.get(
                f"/internal/v1/ledger/{environment.public_id}", headers={"Authorization": f"Bearer {token}"}
            )
        reply.raise_for_status()
        return add_up(reply.json())
    except (httpx.HTTPError, OSError) as error:
        return LedgerReport(checked=False, problems=(f"the services cannot be asked: {error}",))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return LedgerReport(checked=False, problems=(f"the services' answer cannot be read: {error!r}",))


def add_up(ledger: Mapping[str, Any]) -> LedgerReport:
    """Hold a ledger against the law of conservation."""
    received = 0
    problems = [] if ledger.get("balanced", True) else ["the services report that the ledger is not balanced"]
    for row in ledger["rows"]:
        counts = row["counts"]
        received += counts["received"]
        parts = sum(counts.get(part, 0) for part in PARTS)
        if counts["received"] != parts:
            problems.append(
                f"{row['dataset']}, {row['principal_id']}, minute {row['minute']}: "
                f"{counts['received']} received, {parts} accounted for"
            )
    return LedgerReport(checked=True, balanced=not problems, received=received, problems=tuple(problems[:100]))
