"""Overrides, from the request to the end of their time."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment


class Override(TenantEntity):
    """That an output of a model is to be ``value`` for whatever ``key`` names, from one instant to another.

    What was asked for is sealed; only the state moves. ``key_text`` is the canonical form of ``by`` and ``key``: of one
    target, key, output and environment at most one approved override holds at any instant.
    """

    class State(models.TextChoices):
        """Only approved ones are served. One whose time is over stays as it is: the clock ends it."""

        REQUESTED = "requested"
        APPROVED = "approved"
        REJECTED = "rejected"
        REVOKED = "revoked"

    class Kind(models.TextChoices):
        """Whose answer is replaced."""

        MODEL = "model"

    class By(models.TextChoices):
        """What the key is held against."""

        INPUTS = "inputs"
        ENTITY = "entity"

    prefix: ClassVar[str] = "ovr"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="overrides")
    target_kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.MODEL)
    target = models.CharField(max_length=63)
    output = models.CharField(max_length=200)
    by = models.CharField(max_length=10, choices=By.choices, default=By.INPUTS)
    key = models.JSONField()
    key_text = models.CharField(max_length=2_000, editable=False)
    value = models.JSONField()
    reason = models.CharField(max_length=500)
    valid_from = models.DateTimeField()
    valid_until = models.DateTimeField()
    requested_by_id = models.CharField(max_length=64, editable=False)
    requested_by_label = models.CharField(max_length=300, editable=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.REQUESTED, editable=False)
    decided_by_id = models.CharField(max_length=64, blank=True, editable=False)
    decided_by_label = models.CharField(max_length=300, blank=True, editable=False)
    decided_at = models.DateTimeField(null=True, blank=True, editable=False)
    decision_reason = models.CharField(max_length=500, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_by_label = models.CharField(max_length=300, blank=True, editable=False)
    origin = models.CharField(max_length=64, blank=True, editable=False)

    class Meta:
        """Nobody approves their own, and everything has a reason and an end."""

        ordering = ("-created_at",)
        constraints = (
            models.UniqueConstraint(fields=["origin"], condition=~Q(origin=""), name="override_once_per_review"),
            models.CheckConstraint(name="override_has_a_reason", condition=~Q(reason="")),
            models.CheckConstraint(name="override_ends_after_it_begins", condition=Q(valid_from__lt=F("valid_until"))),
            models.CheckConstraint(
                name="override_needs_two_people",
                condition=Q(state__in=("requested", "rejected")) | ~Q(decided_by_id=F("requested_by_id")),
            ),
        )
        indexes = (
            models.Index(fields=["environment", "target", "key_text"], name="override_by_key"),
            models.Index(fields=["environment", "state", "valid_until"], name="override_in_force"),
        )

    def __str__(self) -> str:
        named = ", ".join(f"{name}={value}" for name, value in self.key.items())
        return f"{self.target}.{self.output} = {self.value} for {named}"

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the environment belongs to."""
        return self.environment.project_id

    @property
    def grant_resource(self) -> str:
        """Return what a grant on the model alone names."""
        return f"{self.target_kind}:{self.target}"

    @property
    def phase(self) -> str:
        """Return the state for people: an approved one is scheduled, in force or over."""
        return self.phase_at(timezone.now())

    def phase_at(self, now: datetime) -> str:
        """Return the state at an instant: what it is called by people."""
        if self.state == self.State.REQUESTED:
            return "lapsed" if self.valid_until <= now else "requested"
        if self.state != self.State.APPROVED:
            withdrawn = self.state == self.State.REJECTED and self.revoked_at is not None
            return "withdrawn" if withdrawn else str(self.state)
        if now < self.valid_from:
            return "scheduled"
        return "in force" if now < self.valid_until else "over"
