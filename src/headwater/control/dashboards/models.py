"""Dashboards and their revisions. A revision is sealed: it shows for ever what somebody saved, and who and when."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models

from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment
from headwater.core.dashboards import NAME_PATTERN, Board
from headwater.core.dashboards.spec import MAX_NAME, RESERVED

DASHBOARD_NAME: Final = RegexValidator(
    NAME_PATTERN.replace("$", r"\Z").replace("^", r"\A"),
    "use lower-case letters, digits and single - or _ between them, a letter first",
)


def not_reserved(name: str) -> None:
    """Refuse a name that the console's addresses need."""
    if name in RESERVED:
        raise ValidationError(f"{name!r} is a reserved name; choose another one")


class Dashboard(TenantEntity):
    """A named page of tiles in an environment. ``number`` is the revision that is shown."""

    prefix: ClassVar[str] = "dsh"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="dashboards")
    name = models.CharField(max_length=MAX_NAME, validators=[DASHBOARD_NAME, not_reserved])
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    number = models.PositiveIntegerField(default=1)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Names are unique within an environment."""

        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["environment", "name"], name="dashboard_name_in_environment"),)

    def __str__(self) -> str:
        return self.name

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this dashboard alone names."""
        return f"dashboard:{self.name}"


class DashboardRevision(TenantEntity):
    """One sealed revision of a dashboard: what it shows, and what whoever saved it noted."""

    prefix: ClassVar[str] = "dsr"

    dashboard = models.ForeignKey(Dashboard, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    spec_sha256 = models.CharField(max_length=64)
    note = models.CharField(max_length=500, blank=True)
    saved_by = models.CharField(max_length=254, help_text="Who saved it, as they were called then.")

    class Meta:
        """Numbers are unique within a dashboard."""

        ordering = ("dashboard", "-number")
        constraints = (models.UniqueConstraint(fields=["dashboard", "number"], name="revision_in_dashboard"),)

    def __str__(self) -> str:
        return f"{self.dashboard.name} r{self.number}"

    @property
    def environment(self) -> Environment:
        """Return the environment that the dashboard belongs to."""
        return self.dashboard.environment

    @property
    def environment_id(self) -> uuid.UUID:
        """Return the environment's primary key."""
        return self.dashboard.environment_id

    @property
    def board(self) -> Board:
        """Return what it shows, as it was checked when it was saved."""
        plain: dict[str, Any] = self.spec
        return Board.model_validate(plain)
