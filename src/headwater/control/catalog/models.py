"""Datasets and the versions of their contracts, SQL endpoints and their revisions, quarantine cases.

A contract version is sealed once it leaves ``draft`` and an endpoint revision from the start: their text and spec never
change, only a version's ``state`` does. ``Activation`` says which version an environment writes by.
"""

from __future__ import annotations

import uuid
from typing import ClassVar, Final

from django.core.validators import RegexValidator
from django.db import models

from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment, Project
from headwater.core.endpoints import endpoint_label

RESOURCE_NAME: Final = RegexValidator(
    r"\A[a-z][a-z0-9_]{0,62}\Z", "use lower-case letters, digits and underscores, a letter first, at most 63 in all"
)


class Dataset(TenantEntity):
    """A named set of rows of a project. Its rows live in the lake, once per environment."""

    prefix: ClassVar[str] = "ds"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="datasets")
    name = models.CharField(max_length=63, validators=[RESOURCE_NAME])
    description = models.TextField(blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Names are unique within a project."""

        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["project", "name"], name="dataset_name_in_project"),)

    def __str__(self) -> str:
        return self.name

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this dataset alone names."""
        return f"dataset:{self.name}"


class ContractVersion(TenantEntity):
    """One version of a dataset's contract. ``number`` counts from 1 without gaps; ``version`` is the author's label."""

    class State(models.TextChoices):
        """A draft may be edited; active and deprecated versions take rows; a retired one does not."""

        DRAFT = "draft"
        IN_REVIEW = "in_review"
        ACTIVE = "active"
        DEPRECATED = "deprecated"
        RETIRED = "retired"

    prefix: ClassVar[str] = "cv"

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    version = models.CharField(max_length=40)
    spec = models.JSONField()
    spec_sha256 = models.CharField(max_length=64)
    source = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.DRAFT)

    class Meta:
        """Numbers and labels are unique within a dataset."""

        ordering = ("dataset", "-number")
        constraints = (
            models.UniqueConstraint(fields=["dataset", "number"], name="contract_number_in_dataset"),
            models.UniqueConstraint(fields=["dataset", "version"], name="contract_version_in_dataset"),
        )

    def __str__(self) -> str:
        return f"{self.dataset.name} {self.version}"

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the dataset belongs to."""
        return self.dataset.project_id

    @property
    def grant_resource(self) -> str:
        """Return what a grant on the dataset alone names."""
        return self.dataset.grant_resource


class Activation(TenantEntity):
    """The one contract version that an environment holds rows of a dataset against by default."""

    prefix: ClassVar[str] = "act"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="activations")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="activations")
    contract = models.ForeignKey(ContractVersion, on_delete=models.PROTECT, related_name="activations")

    class Meta:
        """At most one active version per dataset and environment."""

        constraints = (models.UniqueConstraint(fields=["environment", "dataset"], name="one_active_contract"),)

    def __str__(self) -> str:
        return f"{self.contract} in {self.environment}"


class Endpoint(TenantEntity):
    """A SQL endpoint of an environment; of each of its versions the newest revision is served."""

    prefix: ClassVar[str] = "ep"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="endpoints")
    name = models.CharField(max_length=63, validators=[RESOURCE_NAME])
    description = models.TextField(blank=True)
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Names are unique within an environment."""

        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["environment", "name"], name="endpoint_name_in_environment"),)

    def __str__(self) -> str:
        return self.name

    @property
    def grant_resource(self) -> str:
        """Return what a grant on this endpoint alone names."""
        return f"endpoint:{self.name}"


class EndpointRevision(TenantEntity):
    """One sealed revision of an endpoint. ``spec`` holds what ``EndpointSpec`` does but ids and numbers."""

    prefix: ClassVar[str] = "epr"

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="revisions")
    number = models.PositiveIntegerField()
    spec = models.JSONField()
    spec_sha256 = models.CharField(max_length=64)
    source = models.TextField()

    class Meta:
        """Numbers are unique within an endpoint."""

        ordering = ("endpoint", "-number")
        constraints = (models.UniqueConstraint(fields=["endpoint", "number"], name="revision_number_in_endpoint"),)

    def __str__(self) -> str:
        return f"{self.endpoint.name} r{self.number}"

    @property
    def version(self) -> int:
        """Return the major version that this is a revision of."""
        return int(self.spec.get("version", 1))

    @property
    def label(self) -> str:
        """Return the name, with the version behind it from the second on."""
        return self.endpoint.name if self.version == 1 else endpoint_label(self.endpoint.name, self.version)

    @property
    def environment(self) -> Environment:
        """Return the environment that the endpoint belongs to."""
        return self.endpoint.environment

    @property
    def environment_id(self) -> uuid.UUID:
        """Return the environment's primary key."""
        return self.endpoint.environment_id


class QuarantineCase(TenantEntity):
    """What was decided about a group of quarantined rows. The rows themselves, and how many wait, stay in the lake."""

    class State(models.TextChoices):
        """A closed case opens again when new rows join its group; an expired one's rows outlived their retention."""

        OPEN = "open"
        REPLAYED = "replayed"
        DISCARDED = "discarded"
        EXPIRED = "expired"

    prefix: ClassVar[str] = "qc"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="quarantine_cases")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="quarantine_cases")
    fingerprint = models.CharField(max_length=128)
    code = models.CharField(max_length=60)
    path = models.CharField(max_length=500, blank=True)
    contract_version = models.CharField(max_length=40, blank=True)
    count = models.PositiveBigIntegerField(default=0)
    open_count = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    result = models.JSONField(default=dict, blank=True)

    class Meta:
        """One case per group."""

        ordering = ("-last_at",)
        constraints = (
            models.UniqueConstraint(fields=["environment", "dataset", "fingerprint"], name="one_case_per_group"),
        )

    def __str__(self) -> str:
        return f"{self.dataset.name}: {self.code} at {self.path or 'the row'}"

    @property
    def grant_resource(self) -> str:
        """Return what a grant on the dataset alone names."""
        return self.dataset.grant_resource
