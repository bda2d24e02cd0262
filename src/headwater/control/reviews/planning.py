"""What applying a project would change about its review queues."""

from __future__ import annotations

from typing import Any

from headwater.contracts.spec import contract_to_spec
from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredQueue, Project, errors_in
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Model
from headwater.control.reviews.models import ReviewQueue
from headwater.control.reviews.queues import check_queue, publish_queue, queue_values
from headwater.core.errors import HeadwaterError


def plan_queues(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every review queue of a project directory, held against what the project will have afterwards.

    What only comes to be by applying is looked at no further: its step does so, in the same transaction.
    """
    rows = ReviewQueue.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    existing = {queue.key: queue for queue in rows.select_related("form")}
    known = {*project.datasets, *project.models}
    for key, item in project.queues.items():
        try:
            check_queue(environment.project, item.queue, known=known)
        except HeadwaterError as error:
            plan.errors += errors_in(item.file.source, error)
            continue
        _plan_queue(plan, environment, existing.get(key), item, known)
    for key, queue in existing.items():
        if key not in project.queues and queue.archived_at is None:
            plan.add("review", key, "unchanged", "not in the project directory; left alone (archive it to stop it)")


def _plan_queue(
    plan: Plan, environment: Environment, queue: ReviewQueue | None, item: DeclaredQueue, known: set[str]
) -> None:
    details = _differences(queue, item)
    if not details:
        plan.add("review", item.queue.key, "unchanged")
        return

    model = item.queue.spec.model
    models = Model.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    if model and model not in known and not models.filter(name=model).exists():
        details.append(f"there is no model {model!r} yet; nothing is fed until there is")

    def step(actor: Actor) -> None:
        publish_queue(actor=actor, project=environment.project, file=item.queue, source=item.file.text)

    plan.add("review", item.queue.key, "create" if queue is None else "update", *details, step=step)


def _differences(queue: ReviewQueue | None, item: DeclaredQueue) -> list[str]:
    values = queue_values(item.queue)
    if queue is None:
        about = f" of {values['subject']}" if values["subject"] else ""
        return [f"{values['source']}{about}", f"{values['required_decisions']} decisions a task"]
    details = [
        f"{name}: {_short(getattr(queue, name))} → {_short(value)}"
        for name, value in values.items()
        if name != "spec_sha256" and getattr(queue, name) != value
    ]
    form = sha256_of(contract_to_spec(item.queue.form)) if item.queue.form else ""
    if form != (queue.form.spec_sha256 if queue.form else ""):
        details.append("its form changed; tasks that wait keep theirs")
    if queue.archived_at is not None:
        details.append("is fed again")
    return details


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"  # noqa: PLR2004 - what a line has room for
