"""Review queues, their forms, tasks, decisions, and how far each source was read."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, ClassVar, Final

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from headwater.control.kit.fields import UnrecordedJSON
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment, Project, slug_validator

MAX_DECISIONS: Final = 5


class ReviewQueue(TenantEntity):
    """What is to be looked at, by how many people, how soon, and what their verdicts lead to.

    Attributes:
        subject: the dataset of a quarantine queue (empty: every dataset), or the model of the others.
        environments: keys of the environments it watches; empty: all of the project.
        condition: an expression that what is to be reviewed fulfils; empty: everything.
        sample_percent: the share of predictions that a sample queue takes; ``per_day`` bounds how many.
        priority: an expression whose number says what comes first; empty: the oldest.
        outcome: what the verdicts ``label`` and ``override`` make of the form's answers.
        escalate_to: ``role:name`` or ``group:name`` of those who settle what reviewers disagree on.
    """

    class Source(models.TextChoices):
        """Where tasks come from."""

        QUARANTINE = "quarantine", "quarantined rows"
        PREDICTION = "prediction", "predictions"
        SAMPLE = "sample", "a sample of predictions"

    class Unit(models.TextChoices):
        """What one task of a quarantine queue is about."""

        GROUP = "group"
        ROW = "row"

    prefix: ClassVar[str] = "rq"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="review_queues")
    key = models.CharField(max_length=63, validators=[slug_validator])
    title = models.CharField(max_length=200, blank=True)
    instructions = models.TextField(blank=True, max_length=4_000)
    source = models.CharField(max_length=12, choices=Source.choices)
    unit = models.CharField(max_length=6, choices=Unit.choices, default=Unit.GROUP)
    subject = models.CharField(max_length=63, blank=True)
    environments = models.JSONField(default=list, blank=True)
    condition = models.TextField(blank=True, max_length=4_000)
    sample_percent = models.FloatField(default=100, validators=[MinValueValidator(0.001), MaxValueValidator(100)])
    per_day = models.PositiveIntegerField(default=100, validators=[MinValueValidator(1), MaxValueValidator(100_000)])
    priority = models.TextField(blank=True, max_length=4_000)
    required_decisions = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(MAX_DECISIONS)]
    )
    four_eyes = models.BooleanField(default=False)
    lease_seconds = models.PositiveIntegerField(
        default=600, validators=[MinValueValidator(30), MaxValueValidator(86_400)]
    )
    sla_seconds = models.PositiveIntegerField(
        default=86_400, validators=[MinValueValidator(60), MaxValueValidator(31_536_000)]
    )
    escalate_to = models.CharField(max_length=80, blank=True)
    max_open = models.PositiveIntegerField(default=1_000, validators=[MinValueValidator(1)])
    outcome = models.JSONField(default=dict, blank=True)
    form = models.ForeignKey("reviews.ReviewForm", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    spec_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    source_text = models.TextField(blank=True, editable=False)
    archived_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        """A key is unique within its project."""

        ordering = ("key",)
        constraints = (models.UniqueConstraint(fields=["project", "key"], name="review_queue_in_project"),)

    def __str__(self) -> str:
        return self.title or self.key

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this queue alone names."""
        return f"review:{self.key}"

    def watches(self, environment: Environment) -> bool:
        """Return whether tasks come from ``environment``."""
        return not self.environments or environment.key in self.environments


class ReviewForm(TenantEntity):
    """One version of a queue's form: a contract that the answers of a decision are held against. Sealed."""

    prefix: ClassVar[str] = "rf"

    queue = models.ForeignKey(ReviewQueue, on_delete=models.PROTECT, related_name="forms")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    spec_sha256 = models.CharField(max_length=64)

    class Meta:
        """Numbers count from 1 within a queue."""

        ordering = ("queue", "-number")
        constraints = (models.UniqueConstraint(fields=["queue", "number"], name="review_form_in_queue"),)

    def __str__(self) -> str:
        return f"{self.queue.key} form {self.number}"

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the queue belongs to."""
        return self.queue.project_id


class ReviewTask(TenantEntity):
    """One thing to look at. What is shown of it is kept here, without what the viewer must not see.

    A lease is live until ``lease_expires_at``; its holder alone may decide. ``escalated_because`` is empty, ``sla``
    or ``disagreement``. ``delivery`` is what became of the verdict: nothing to do, pending, done, failed for good.
    """

    class State(models.TextChoices):
        """Open and escalated ones wait, claimed ones have a lease, the others are over."""

        OPEN = "open"
        CLAIMED = "claimed"
        DECIDED = "decided"
        ESCALATED = "escalated"
        EXPIRED = "expired"
        CANCELLED = "cancelled"

    class Delivery(models.TextChoices):
        """How far the verdict was carried out."""

        NONE = "none"
        PENDING = "pending"
        DONE = "done"
        FAILED = "failed"

    prefix: ClassVar[str] = "rt"

    queue = models.ForeignKey(ReviewQueue, on_delete=models.PROTECT, related_name="tasks")
    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="+")
    form = models.ForeignKey(ReviewForm, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    dedupe_key = models.CharField(max_length=200)
    title = models.CharField(max_length=300)
    subject = UnrecordedJSON()
    payload = UnrecordedJSON()
    payload_sha256 = models.CharField(max_length=64)
    authors = models.JSONField(default=list, blank=True)
    priority = models.IntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    lease_owner_id = models.CharField(max_length=64, blank=True)
    lease_owner_label = models.CharField(max_length=300, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    assignee_id = models.CharField(max_length=64, blank=True)
    assignee_label = models.CharField(max_length=300, blank=True)
    due_at = models.DateTimeField()
    escalated_at = models.DateTimeField(null=True, blank=True)
    escalated_because = models.CharField(max_length=12, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    verdict = models.CharField(max_length=12, blank=True)
    delivery = models.CharField(max_length=8, choices=Delivery.choices, default=Delivery.NONE)
    delivery_attempts = models.PositiveIntegerField(default=0)
    delivery_after = models.DateTimeField(null=True, blank=True)
    delivery_result = models.JSONField(default=dict, blank=True)

    class Meta:
        """Whatever is fed twice is one task; waiting ones and due ones are found by indexes of their own."""

        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=["queue", "dedupe_key"], name="review_task_once"),
            models.CheckConstraint(
                name="review_lease_is_whole",
                condition=Q(state="claimed", lease_expires_at__isnull=False) & ~Q(lease_owner_id="")
                | ~Q(state="claimed") & Q(lease_expires_at__isnull=True, lease_owner_id=""),
            ),
        )
        indexes = (
            models.Index(fields=["queue", "state", "-priority", "id"], name="review_next"),
            models.Index(fields=["queue", "environment", "created_at"], name="review_history"),
            models.Index(fields=["environment", "state", "queue", "due_at", "created_at"], name="review_standing"),
            models.Index(fields=["environment", "delivery", "queue"], name="review_undelivered"),
            models.Index(
                fields=["due_at"], name="review_due", condition=Q(escalated_at=None, state__in=("open", "claimed"))
            ),
            models.Index(fields=["lease_expires_at"], name="review_leases", condition=Q(state="claimed")),
            models.Index(fields=["delivery_after", "id"], name="review_deliveries", condition=Q(delivery="pending")),
        )

    def __str__(self) -> str:
        return self.title

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the queue belongs to."""
        return self.queue.project_id

    @property
    def grant_resource(self) -> str:
        """Return what a grant on the queue alone names."""
        return self.queue.grant_resource

    def is_leased(self, now: datetime | None = None) -> bool:
        """Return whether somebody holds a live lease."""
        expires = self.lease_expires_at
        return self.state == self.State.CLAIMED and expires is not None and expires > (now or timezone.now())

    @property
    def is_over(self) -> bool:
        """Return whether nobody can decide it any more."""
        return self.state in (self.State.DECIDED, self.State.EXPIRED, self.State.CANCELLED)

    @property
    def waiting_state(self) -> str:
        """Return the state it has while nobody holds it."""
        return self.State.ESCALATED if self.escalated_at else self.State.OPEN


class ReviewDecision(TenantEntity):
    """One reviewer's word on a task, for good: another one may supersede it, nothing changes or deletes it.

    ``changes`` are those that a correction makes to a row.
    """

    prefix: ClassVar[str] = "rd"

    task = models.ForeignKey(ReviewTask, on_delete=models.PROTECT, related_name="decisions")
    form = models.ForeignKey(ReviewForm, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    reviewer_id = models.CharField(max_length=64)
    reviewer_label = models.CharField(max_length=300)
    verdict = models.CharField(max_length=12)
    answers = models.JSONField(default=dict, blank=True)
    changes = UnrecordedJSON(default=dict, blank=True)
    comment = models.CharField(max_length=2_000, blank=True)
    supersedes = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="successor")

    class Meta:
        """A reviewer speaks once about a task, but for corrections, each of one decision."""

        ordering = ("created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=["task", "reviewer_id"], condition=Q(supersedes=None), name="review_first_decision"
            ),
        )

    def __str__(self) -> str:
        return f"{self.verdict} by {self.reviewer_label}"

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the task belongs to."""
        return self.task.project_id

    @property
    def outcome(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return what has to be the same for reviewers to agree."""
        return self.verdict, self.answers, self.changes


class ReviewCursor(models.Model):
    """How far a source was read for a queue: what machines write about themselves.

    ``position`` is the source's own word for it; ``problem`` says why the last attempt failed.
    """

    queue = models.ForeignKey(ReviewQueue, on_delete=models.CASCADE, related_name="cursors")
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+")
    position = models.CharField(max_length=100, blank=True)
    asked_at = models.DateTimeField(null=True)
    fed_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=300, blank=True)

    class Meta:
        """A queue reads each environment once."""

        constraints = (models.UniqueConstraint(fields=["queue", "environment"], name="one_cursor_per_queue"),)

    def __str__(self) -> str:
        return f"{self.queue} in {self.environment}"
