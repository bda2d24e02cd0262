"""Verdicts on quarantined rows: replay them through the current contract, or discard them.

The rows lie with the services, so a verdict cannot be one transaction. It is two actions around one call: the first
notes who asked for what before anything happens, the second what came of it. A crash in between leaves the first, and
asking again is safe: the services replay a row at most once.
"""

# ruff: noqa: ARG001 - actor, reason and scope are for the decorator

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils import timezone

from headwater.contracts.spec import contract_from_spec
from headwater.control.access.authority import Scope, authorize
from headwater.control.catalog.data_plane import DataPlane, QuarantineGroup, Verdict, connect
from headwater.control.catalog.models import Activation, Dataset, QuarantineCase
from headwater.control.kit.actions import SYSTEM, Actor, action, bookkeeping, note
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

State = QuarantineCase.State
_RESULT = {"replay": State.REPLAYED, "discard": State.DISCARDED}


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a verdict did: the case as it stands now and the counts the services gave."""

    case: QuarantineCase
    counts: dict[str, int]


def replay_case(
    *, actor: Actor, dataset: Dataset, environment: Environment, fingerprint: str, reason: str = ""
) -> Resolution:
    """Send the rows of a group through the current contract; those that fail again join a group anew."""
    return _resolve(
        "replay", actor=actor, dataset=dataset, environment=environment, fingerprint=fingerprint, reason=reason
    )


def discard_case(
    *, actor: Actor, dataset: Dataset, environment: Environment, fingerprint: str, reason: str = ""
) -> Resolution:
    """Give up the rows of a group; they stay readable until their retention ends."""
    return _resolve(
        "discard", actor=actor, dataset=dataset, environment=environment, fingerprint=fingerprint, reason=reason
    )


def sync_cases(environment: Environment, groups: Iterable[QuarantineGroup]) -> None:
    """Bring the cases of an environment up to what the services hold: new groups open cases, counts are copied.

    A case that was resolved opens again, with an audit row of the system's, when new rows have joined its group. One
    whose rows the services no longer have, because the contract's retention is over, is closed likewise.
    """
    datasets = {
        dataset.name: dataset
        for dataset in Dataset.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    }
    cases = {
        (case.dataset_id, case.fingerprint): case
        for case in QuarantineCase.objects.for_org(environment.org_id).filter(environment=environment)
    }
    for group in groups:
        dataset = datasets.get(group.dataset)
        if dataset is None:
            continue
        case = cases.pop((dataset.pk, group.fingerprint), None)
        if case is None:
            _open_case(actor=SYSTEM, dataset=dataset, environment=environment, group=group)
            continue
        if group.open and case.state != State.OPEN:
            _reopen_case(actor=SYSTEM, case=case)
        counts = {"count": group.count, "open_count": group.open, "first_at": group.first_at, "last_at": group.last_at}
        if any(getattr(case, name) != value for name, value in counts.items()):
            with bookkeeping():
                QuarantineCase.objects.for_org(environment.org_id).filter(pk=case.pk).update(**counts)
    _expire_cases(environment, [case for case in cases.values() if case.count])


def _expire_cases(environment: Environment, gone: Sequence[QuarantineCase]) -> None:
    """Close the cases of groups that are gone, if their time is over: otherwise the services may only be behind."""
    if not gone:
        return
    activations = Activation.objects.for_org(environment.org_id).filter(environment=environment)
    retentions = {
        activation.dataset_id: contract_from_spec(activation.contract.spec).quarantine_retention
        for activation in activations.select_related("contract")
    }
    now = timezone.now()
    for case in gone:
        retention = retentions.get(case.dataset_id)
        if retention and now - case.last_at > retention:
            _expire_case(actor=SYSTEM, case=case)


@action("catalog.quarantine.opened", permission=None)
def _open_case(*, actor: Actor, dataset: Dataset, environment: Environment, group: QuarantineGroup) -> QuarantineCase:
    return _new_case(dataset, environment, group)


@action("catalog.quarantine.reopened", permission=None)
def _reopen_case(*, actor: Actor, case: QuarantineCase) -> None:
    case.change(state=State.OPEN)


@action("catalog.quarantine.expired", permission=None)
def _expire_case(*, actor: Actor, case: QuarantineCase) -> None:
    case.change(state=State.EXPIRED if case.state == State.OPEN else case.state, count=0, open_count=0)


@action("catalog.quarantine.requested", permission="quarantine.resolve", on="scope")
def _request(
    *,
    actor: Actor,
    scope: Scope,
    dataset: Dataset,
    environment: Environment,
    group: QuarantineGroup,
    verdict: Verdict,
    reason: str = "",
) -> QuarantineCase:
    case = (
        QuarantineCase.objects.for_org(dataset.org_id)
        .filter(environment=environment, dataset=dataset, fingerprint=group.fingerprint)
        .first()
    ) or _new_case(dataset, environment, group)
    note(case, requested=verdict, rows=group.open)
    return case


@action("catalog.quarantine.resolved", permission="quarantine.resolve", on="case")
def _record(
    *, actor: Actor, case: QuarantineCase, verdict: Verdict, counts: dict[str, int], left: int, reason: str = ""
) -> QuarantineCase:
    case.refresh_from_db()
    # Rows that fail again join a group anew, and rows whose bytes were not kept stay: the case is closed by none left.
    case.change(
        state=State.OPEN if left else _RESULT[verdict],
        result={"verdict": verdict, "counts": counts},
        open_count=left,
    )
    return case


@action("catalog.quarantine.failed", permission="quarantine.resolve", on="case")
def _record_failure(*, actor: Actor, case: QuarantineCase, verdict: Verdict, error: str, reason: str = "") -> None:
    note(case, failed=verdict, error=error)


def _resolve(
    verdict: Verdict, *, actor: Actor, dataset: Dataset, environment: Environment, fingerprint: str, reason: str
) -> Resolution:
    if environment.project_id != dataset.project_id:
        raise HeadwaterError("not_found", f"{environment.key!r} is not an environment of the dataset's project")
    with connect() as services:
        scope = Scope(dataset.org_id, dataset.project_id, environment.pk, dataset.grant_resource)
        if actor.kind != "system":
            authorize(actor, "quarantine.resolve", scope)
        group = _find_group(services, environment, dataset, fingerprint)
        case = _request(
            actor=actor,
            scope=scope,
            dataset=dataset,
            environment=environment,
            group=group,
            verdict=verdict,
            reason=reason,
        )
        try:
            counts = services.resolve(
                environment.public_id, dataset.name, verdict, fingerprint=fingerprint, requested_by=actor.id
            )
        except HeadwaterError as error:
            _record_failure(actor=actor, case=case, verdict=verdict, error=f"{error.code}: {error.detail}"[:500])
            raise
        left = _open_rows(services, environment, dataset, fingerprint)
    case = _record(actor=actor, case=case, verdict=verdict, counts=counts, left=left, reason=reason)
    return Resolution(case, counts)


def _find_group(services: DataPlane, environment: Environment, dataset: Dataset, fingerprint: str) -> QuarantineGroup:
    groups: Sequence[QuarantineGroup] = services.quarantine_groups(environment.public_id, dataset.name)
    group = next((group for group in groups if group.fingerprint == fingerprint), None)
    if group is None:
        raise HeadwaterError(
            "not_found", f"{dataset.name!r} has no quarantine group {fingerprint!r}", hint="load the groups again"
        )
    return group


def _open_rows(services: DataPlane, environment: Environment, dataset: Dataset, fingerprint: str) -> int:
    """Return how many rows of a group wait still; 0 when that cannot be learnt, which the next synchronising mends."""
    try:
        return _find_group(services, environment, dataset, fingerprint).open
    except HeadwaterError:
        return 0


def _new_case(dataset: Dataset, environment: Environment, group: QuarantineGroup) -> QuarantineCase:
    case = QuarantineCase(
        org_id=dataset.org_id,
        environment=environment,
        dataset=dataset,
        fingerprint=group.fingerprint,
        code=group.code,
        path=group.path,
        contract_version=group.contract_version,
        count=group.count,
        open_count=group.open,
        first_at=group.first_at,
        last_at=group.last_at,
    )
    case.save()
    return case
