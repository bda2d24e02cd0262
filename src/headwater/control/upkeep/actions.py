"""What the regular checks found, as events in the audit log."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import ClassVar

from headwater.control.audit.verify import ChainReport
from headwater.control.kit.actions import Actor, action, note
from headwater.control.orgs.models import Environment
from headwater.control.upkeep.ledger import LedgerReport
from headwater.core.ids import format_id


@dataclass(frozen=True, slots=True)
class Chain:
    """One organisation's audit log as something that can be spoken about."""

    org_id: uuid.UUID
    audit_kind: ClassVar[str] = "audit.chain"

    @property
    def public_id(self) -> str:
        """Return the id of the organisation whose chain it is."""
        return format_id("org", self.org_id)

    @property
    def tenant_id(self) -> uuid.UUID:
        """Return the organisation whose chain it is."""
        return self.org_id

    def __str__(self) -> str:
        return "audit log"


@action("audit.chain.verified", permission=None)
def record_chain(*, actor: Actor, report: ChainReport) -> None:
    """Note what a verification of the audit log found."""
    note(Chain(report.org_id), events=report.events, whole=report.is_whole, problem=report.problem)


@action("audit.ledger.checked", permission=None)
def record_ledger(*, actor: Actor, environment: Environment, report: LedgerReport) -> None:
    """Note what a check of the ledger found, also that it could not be made."""
    note(
        environment,
        checked=report.checked,
        balanced=report.balanced,
        received=report.received,
        problems=list(report.problems),
    )
