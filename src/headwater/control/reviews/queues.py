"""Making, changing and archiving review queues."""

# ruff: noqa: ARG001 - actor and reason are for the decorator

from __future__ import annotations

from typing import Any

from django.db.models import Max
from django.utils import timezone

from headwater.contracts.spec import contract_to_spec
from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.models import Dataset
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment, Project
from headwater.control.registry.models import ModelVersion
from headwater.control.reviews.conditions import (
    GROUP_NAMES,
    ROW_NAMES,
    compile_condition,
    compile_priority,
    prediction_names,
)
from headwater.control.reviews.files import QueueFile
from headwater.control.reviews.models import ReviewForm, ReviewQueue
from headwater.core.errors import HeadwaterError
from headwater.core.expressions.terms import Type


@action("reviews.queue.published", permission="review.write", on="project")
def publish_queue(*, actor: Actor, project: Project, file: QueueFile, source: str) -> ReviewQueue:
    """Make a queue what its file says; tasks that wait keep the form that they were made with.

    Args:
        actor: who publishes.
        project: where.
        file: the file that was read.
        source: the file as it was written.

    Raises:
        HeadwaterError: ``invalid_parameter`` or ``dataset_not_found`` for what does not exist.
    """
    check_queue(project, file)
    queue = ReviewQueue.objects.for_org(project.org_id).filter(project=project, key=file.key).first()
    values = queue_values(file) | {"source_text": source, "archived_at": None}
    if queue is None:
        queue = ReviewQueue(org_id=project.org_id, project=project, key=file.key, **values)
        queue.save()
    else:
        queue.change(**values)
    form = _publish_form(queue, file)
    if queue.form_id != (form.pk if form else None):
        queue.change(form=form)
    return queue


@action("reviews.queue.archived", permission="review.write", on="queue")
def archive_queue(*, actor: Actor, queue: ReviewQueue, reason: str = "") -> ReviewQueue:
    """Feed a queue no more; what waits in it can still be decided."""
    if queue.archived_at is None:
        queue.change(archived_at=timezone.now())
    return queue


@action("reviews.queue.restored", permission="review.write", on="queue")
def restore_queue(*, actor: Actor, queue: ReviewQueue, reason: str = "") -> ReviewQueue:
    """Feed an archived queue again."""
    queue.change(archived_at=None)
    return queue


def queue_values(file: QueueFile) -> dict[str, Any]:
    """Return the fields of a queue that a file decides."""
    spec, reviewers = file.spec, file.spec.reviewers
    return {
        "title": spec.title,
        "instructions": spec.instructions,
        "source": spec.source,
        "unit": spec.unit,
        "subject": spec.subject,
        "environments": list(spec.environments),
        "condition": spec.condition,
        "sample_percent": spec.sample_percent,
        "per_day": spec.per_day,
        "priority": spec.priority,
        "required_decisions": reviewers.decisions,
        "four_eyes": reviewers.four_eyes,
        "lease_seconds": file.lease_seconds,
        "sla_seconds": file.sla_seconds,
        "escalate_to": reviewers.escalate_to,
        "max_open": spec.max_open,
        "outcome": spec.outcome.model_dump(mode="json", exclude_none=True),
        "spec_sha256": digest_of(file),
    }


def digest_of(file: QueueFile) -> str:
    """Return what tells two files apart that say different things."""
    return sha256_of(file.spec.model_dump(mode="json"))


def check_queue(project: Project, file: QueueFile, *, known: set[str] | None = None) -> None:
    """Raise unless what a queue names exists: its dataset, environments, and the names in its expressions.

    ``known`` are datasets and models that will exist once the project is applied; of these nothing more is checked.
    """
    spec = file.spec
    keys = set(Environment.objects.for_org(project.org_id).filter(project=project).values_list("key", flat=True))
    for index, key in enumerate(spec.environments):
        if key not in keys:
            raise HeadwaterError(
                "invalid_parameter", f"environments[{index}]: there is no environment {key!r}",
                hint=f"there are: {', '.join(sorted(keys))}", extra={"path": f"environments[{index}]"},
            )  # fmt: skip
    names = _names(project, file, known or set())
    if names is None:
        return
    if spec.condition:
        compile_condition(spec.condition, names)
    if spec.priority:
        compile_priority(spec.priority, names)


def _names(project: Project, file: QueueFile, known: set[str]) -> dict[str, Type] | None:
    """Return the names for a queue's expressions, None where they are not known yet."""
    spec = file.spec
    if spec.source == "quarantine":
        datasets = Dataset.objects.for_org(project.org_id).filter(project=project)
        if spec.dataset and spec.dataset not in known and not datasets.filter(name=spec.dataset).exists():
            raise HeadwaterError("dataset_not_found", f"there is no dataset {spec.dataset!r}")
        return dict(ROW_NAMES if spec.unit == "row" else GROUP_NAMES)
    # A model may come after the queue: projects are applied before what they train exists. Until then nothing is fed.
    versions = ModelVersion.objects.for_org(project.org_id).filter(model__project=project, model__name=spec.model)
    newest = list(versions.order_by("-number")[:10])
    return prediction_names(newest) if newest and spec.model not in known else None


def _publish_form(queue: ReviewQueue, file: QueueFile) -> ReviewForm | None:
    if file.form is None:
        return None
    spec = contract_to_spec(file.form)
    digest = sha256_of(spec)
    forms = ReviewForm.objects.for_org(queue.org_id).filter(queue=queue)
    newest: ReviewForm | None = forms.order_by("-number").first()
    if newest is not None and newest.spec_sha256 == digest:
        return newest
    number = int(forms.aggregate(newest=Max("number"))["newest"] or 0) + 1
    form = ReviewForm(org_id=queue.org_id, queue=queue, number=number, spec=spec, spec_sha256=digest)
    form.save()
    return form
