"""Feature views and their sealed revisions."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from headwater.control.catalog.models import RESOURCE_NAME, Dataset
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment


class FeatureView(TenantEntity):
    """Features of entities in an environment; the newest revision is the one in force.

    ``dataset`` is what that revision computes them from: the lineage from features to data.
    """

    prefix: ClassVar[str] = "fv"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="feature_views")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="feature_views")
    name = models.CharField(max_length=63, validators=[RESOURCE_NAME])
    description = models.TextField(blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Names are unique within an environment."""

        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["environment", "name"], name="feature_view_in_environment"),)

    def __str__(self) -> str:
        return self.name

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this view alone names."""
        return f"feature:{self.name}"

    @property
    def newest(self) -> FeatureViewRevision | None:
        """Return the revision in force."""
        rows = FeatureViewRevision.objects.for_org(self.org_id).filter(view=self)
        newest: FeatureViewRevision | None = rows.order_by("-number").first()
        return newest


class FeatureViewRevision(TenantEntity):
    """One sealed revision of a feature view. ``spec`` holds what ``FeatureViewSpec`` does but id and revision."""

    prefix: ClassVar[str] = "fvr"

    view = models.ForeignKey(FeatureView, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    spec_sha256 = models.CharField(max_length=64)
    source = models.TextField()

    class Meta:
        """Numbers are unique within a view."""

        ordering = ("view", "-number")
        constraints = (models.UniqueConstraint(fields=["view", "number"], name="revision_number_in_feature_view"),)

    def __str__(self) -> str:
        return f"{self.view.name} r{self.number}"

    @property
    def environment(self) -> Environment:
        """Return the environment that the view belongs to."""
        return self.view.environment

    @property
    def environment_id(self) -> uuid.UUID:
        """Return the environment's primary key."""
        return self.view.environment_id
