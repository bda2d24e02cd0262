"""The regular tasks. Each can run twice, late or never without harm: the next run does what is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from celery import shared_task
from django.core.management import call_command
from django.utils import timezone

from headwater.control import configuration
from headwater.control.audit.checkpoints import current_archive, make_checkpoints
from headwater.control.audit.verify import verify_all
from headwater.control.flags.usage import forget_old_usage
from headwater.control.identity.failures import report_failures
from headwater.control.kit import outbox
from headwater.control.kit.actions import SYSTEM
from headwater.control.kit.models import Outbox
from headwater.control.orgs.models import Environment
from headwater.control.snapshots.publish import publish_all
from headwater.control.snapshots.signing import signing_key
from headwater.control.sso.actions import recheck_domain
from headwater.control.sso.dns import Resolver, txt_records
from headwater.control.sso.models import Domain
from headwater.control.upkeep.actions import record_chain, record_ledger
from headwater.control.upkeep.ledger import check_ledger as ask_ledger
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

KEPT_EVENTS: Final = timedelta(days=30)
_log = get_logger(__name__)


def publish_to_log(event: Outbox) -> None:
    """Publish an event as a structured log line; the place where webhooks will listen.

    For debugging alone: the audit log keeps every event, and a first start has dozens.
    """
    actor = event.payload.get("actor", {}).get("label", "")
    _log.debug("event_published", topic=event.topic, key=event.key, actor=actor, event_id=str(event.id))


@shared_task(name="upkeep.relay_outbox")
def relay_outbox() -> int:
    """Publish what waits in the outbox; return how many events."""
    total = 0
    while published := outbox.relay(publish_to_log):
        total += published
    return total


@shared_task(name="upkeep.reconcile_snapshots")
def reconcile_snapshots() -> int:
    """Publish every environment that differs from its newest snapshot, for instance because a grant ran out."""
    return len(publish_all())


@shared_task(name="upkeep.report_failed_logins")
def report_failed_logins() -> int:
    """Audit the failed logins that were only counted so far; return how many rows that made."""
    return report_failures()


@shared_task(name="upkeep.forget_flag_usage")
def forget_flag_usage() -> int:
    """Delete counts of evaluations that are older than anybody asks about; return how many rows."""
    return forget_old_usage()


@shared_task(name="upkeep.verify_audit")
def verify_audit() -> dict[str, Any]:
    """Verify every audit chain and note the result; return the problems found by organisation."""
    found = {}
    for report in verify_all(current_archive()):
        if not report.is_whole:
            _log.error("audit_chain_broken", org=str(report.org_id), problem=report.problem)
            found[str(report.org_id)] = report.problem
        record_chain(actor=SYSTEM, report=report)
    return found


@shared_task(name="upkeep.sign_audit")
def sign_audit() -> int:
    """Export what the audit log has gained to the lake and sign how far it reaches; return how many checkpoints."""
    return make_checkpoints(signing_key(), configuration.current().lake_folder)


@shared_task(name="upkeep.check_ledger")
def check_ledger() -> dict[str, Any]:
    """Check every environment's ledger and note the result; return the problems found by environment."""
    found = {}
    for environment in Environment.unscoped.select_related("project", "org"):
        report = ask_ledger(environment)
        if report.problems:
            _log.error("ledger_check_failed", environment=environment.public_id, problems=report.problems)
            found[environment.public_id] = list(report.problems)
        record_ledger(actor=SYSTEM, environment=environment, report=report)
    return found


@shared_task(name="upkeep.recheck_domains")
def recheck_domains(resolve: Resolver = txt_records) -> dict[str, str]:
    """Look whether the records of verified domains are still there; return those of which it could not be said."""
    unknown = {}
    for domain in Domain.unscoped.filter(verified_at__isnull=False).select_related("org"):
        try:
            # Asked before the action, which holds the database: a slow resolver stops nobody else.
            found = resolve(domain.record_name)
            recheck_domain(actor=SYSTEM, domain=domain, resolve=dict.fromkeys([domain.record_name], found).__getitem__)
        except HeadwaterError as error:
            # A resolver that is away, or somebody who changed the domain meanwhile: the next run asks again.
            unknown[domain.name] = error.detail
            _log.warning("domain_not_rechecked", domain=domain.name, problem=error.detail)
        else:
            if domain.missing_since is not None or domain.verified_at is None:
                _log.warning("domain_record_missing", domain=domain.name, lapsed=domain.verified_at is None)
    return unknown


@shared_task(name="upkeep.clear_outbox")
def clear_outbox() -> int:
    """Delete events that were published long ago; return how many. The audit log keeps what they tell of."""
    return outbox.forget(timezone.now() - KEPT_EVENTS)


@shared_task(name="upkeep.clear_sessions")
def clear_sessions() -> None:
    """Delete sessions that have run out."""
    call_command("clearsessions")
