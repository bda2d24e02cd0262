"""What travels when a project directory is applied. Light to import: the readers of the files are not."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from headwater.core.setting_sections import SLUG

MAX_FILES: Final = 2_000
Kind = Literal["dashboard", "dataset", "endpoint", "features", "flag", "model", "policy", "review"]
Verb = Literal["create", "update", "unchanged"]


class ResourceFile(BaseModel):
    """One file of a project directory: its path there, and its text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(max_length=500, examples=["datasets/flights.yaml"])
    text: str = Field(max_length=1 << 20)


class ModelFile(ResourceFile):
    """A model's manifest, with the digests of what was put before: its artifact, and the profile of its reference.

    A remote model has no artifact. ``hold`` keeps a new version from taking traffic.
    """

    artifact_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    profile_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    hold: bool = False


class Resources(BaseModel):
    """Every declared resource of a project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: tuple[ResourceFile, ...] = Field((), max_length=MAX_FILES)
    endpoints: tuple[ResourceFile, ...] = Field((), max_length=MAX_FILES)
    features: tuple[ResourceFile, ...] = Field((), max_length=MAX_FILES)
    flags: tuple[ResourceFile, ...] = Field((), max_length=MAX_FILES)
    reviews: tuple[ResourceFile, ...] = Field((), max_length=MAX_FILES)
    models: tuple[ModelFile, ...] = Field((), max_length=MAX_FILES)
    policies: tuple[ResourceFile, ...] = Field((), max_length=MAX_FILES)
    dashboards: tuple[ResourceFile, ...] = Field((), max_length=MAX_FILES)


class ApplyRequest(BaseModel):
    """What to apply where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    organization: str | None = Field(None, pattern=SLUG, description="May be left out by who belongs to one only")
    project: str = Field(pattern=SLUG)
    environment: str = Field(pattern=SLUG)
    dry_run: bool = False
    resources: Resources


class Change(BaseModel):
    """What becomes of one declared resource."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    name: str
    action: Verb
    details: tuple[str, ...] = ()


class Outcome(BaseModel):
    """What was changed, or would be. ``snapshot`` is the number of the configuration that holds it."""

    changes: tuple[Change, ...]
    snapshot: int | None
    dry_run: bool
