"""Jobs: batch scoring as it gets on, and what became of quarantined rows that were replayed or discarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse

from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.batch_jobs import JobStatus, cancel_job, job_of, jobs_of
from headwater.control.catalog.models import QuarantineCase
from headwater.control.console.forms import perform
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.core.errors import HeadwaterError

SHOWN: Final = 50
_CASES: Final = 100
"""Quarantine groups whose newest verdicts are looked for."""
_VERDICTS: Final = ("catalog.quarantine.resolved", "catalog.quarantine.failed")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A quarantine group that somebody replayed or discarded: when, who, and what became of its rows."""

    case: QuarantineCase
    at: datetime
    actor: str
    verdict: str
    outcome: str
    failed: bool


@page("jobs/", name="jobs", permission="dataset.read", entry=Entry("Jobs", "play", "Data", order=50))
def jobs(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """List the newest batch jobs that the reader could have started, and the newest verdicts."""
    found: Sequence[JobStatus] = ()
    away = ""
    try:
        found = jobs_of(here.actor.subject, here.env, limit=SHOWN)
    except HeadwaterError as error:
        away = error.detail
    sees_verdicts = here.may("quarantine.read")
    return here.render(
        "console/pages/jobs/list.html", title="Jobs", jobs=found, away=away,
        running=any(one.is_active for one in found), sees_verdicts=sees_verdicts,
        verdicts=_verdicts(here) if sees_verdicts else (),
        lead=f"Work on whole datasets in {here.env.key}: what runs, what is done, and what went wrong.",
    )  # fmt: skip


@page("jobs/<slug:job>/", name="job", permission="dataset.read", section="jobs")
def job(request: HttpRequest, here: Place, job: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show one batch job."""
    found = job_of(here.actor.subject, here.env, job)
    return here.render(
        "console/pages/jobs/detail.html", title=f"{found.model} on {found.dataset}", job=found, badge=found.state,
        back=here.url("jobs"), back_title="Jobs", lead=found.job,
    )  # fmt: skip


@page("jobs/<slug:job>/cancel/", name="job-cancel", permission="dataset.read", section="jobs", methods=("POST",))
def cancel(request: HttpRequest, here: Place, job: str) -> HttpResponse:
    """Cancel a batch job."""

    def run(values: dict[str, Any]) -> str:
        cancel_job(actor=here.actor, environment=here.env, job=job, reason=values["reason"])
        return "The job ends after the rows at hand. What it has written stays."

    return perform(request, run, back=here.url("job", job))


def _verdicts(here: Place) -> list[Verdict]:
    """Return what was last done with quarantined rows of this environment, newest first."""
    rows = QuarantineCase.objects.for_org(here.org).filter(environment=here.env).select_related("dataset")
    cases = {case.public_id: case for case in rows.order_by("-last_at")[:_CASES]}
    events = AuditEvent.objects.filter(org_id=here.org.pk, target_id__in=list(cases), action__in=_VERDICTS)
    return [_verdict(cases[event.target_id], event) for event in events.order_by("-n")[:20]]


def _verdict(case: QuarantineCase, event: AuditEvent) -> Verdict:
    result = event.after.get("result") or {}
    counts = result.get("counts") or {}
    told = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    failed = event.action.endswith(".failed")
    return Verdict(
        case, event.at, event.actor_label, str(event.after.get("failed") or result.get("verdict") or ""),
        str(event.after.get("error", "")) if failed else told or "no rows were left", failed,
    )  # fmt: skip
