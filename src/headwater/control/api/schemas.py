"""What the control API takes and gives. Identifiers carry their prefix; instants are UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Field, Schema
from pydantic import AwareDatetime

from headwater.control.access.models import ApiKey, Grant, ServiceAccount
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.models import ContractVersion, Dataset, Endpoint, EndpointRevision
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.core.setting_sections import SLUG

SEEN = "The revision last seen; another one answers 409"


class ReasonIn(Schema):
    """Why; kept in the audit log."""

    reason: str = Field("", max_length=500)


class ChangeIn(ReasonIn):
    """Why, and what the caller last saw."""

    revision: int | None = Field(None, description=SEEN)


class OrganizationOut(Schema):
    """An organisation."""

    id: str
    slug: str
    name: str
    status: str
    revision: int

    @classmethod
    def show(cls, row: Organization) -> OrganizationOut:
        """Return what the API says about ``row``."""
        return cls(id=row.public_id, slug=row.slug, name=row.name, status=row.status, revision=row.revision)


class OrganizationIn(Schema):
    """Another name for an organisation."""

    name: str = Field(min_length=1, max_length=200)
    revision: int | None = Field(None, description=SEEN)


class ProjectOut(Schema):
    """A project."""

    id: str
    slug: str
    name: str
    revision: int

    @classmethod
    def show(cls, row: Project) -> ProjectOut:
        """Return what the API says about ``row``."""
        return cls(id=row.public_id, slug=row.slug, name=row.name, revision=row.revision)


class ProjectIn(Schema):
    """A project to be made."""

    slug: str = Field(pattern=SLUG)
    name: str = Field("", max_length=200)


class ProjectPatch(Schema):
    """Another name for a project."""

    name: str = Field(min_length=1, max_length=200)
    revision: int | None = Field(None, description=SEEN)


class EnvironmentOut(Schema):
    """An environment."""

    id: str
    key: str
    protected: bool
    revision: int

    @classmethod
    def show(cls, row: Environment) -> EnvironmentOut:
        """Return what the API says about ``row``."""
        return cls(id=row.public_id, key=row.key, protected=row.protected, revision=row.revision)


class EnvironmentIn(Schema):
    """An environment to be made."""

    key: str = Field(pattern=SLUG)
    protected: bool = False


class EnvironmentPatch(ChangeIn):
    """What to change about an environment."""

    protected: bool = Field(description="Whether models need an approval there, and flags a reason")


class MemberOut(Schema):
    """A member of an organisation and the roles given on the whole of it."""

    id: str
    email: str
    name: str
    status: str
    roles: list[str]
    revision: int

    @classmethod
    def show(cls, row: Membership) -> MemberOut:
        """Return what the API says about ``row``."""
        live = Grant.objects.for_org(row.org_id).filter(
            membership=row, revoked_at=None, project=None, environment=None, resource=""
        )
        roles = sorted(grant.role.name for grant in live.select_related("role"))
        return cls(
            id=row.public_id, email=row.user.email, name=row.user.name, status=row.status, roles=roles,
            revision=row.revision,
        )  # fmt: skip


class MemberIn(Schema):
    """Somebody who has an account, to be invited with a role."""

    email: str = Field(max_length=254)
    role: str = Field(examples=["developer"])


class MemberPatch(ChangeIn):
    """What to change about a member."""

    role: str | None = None
    status: Literal["active", "suspended"] | None = None


class ServiceAccountOut(Schema):
    """A program's identity."""

    id: str
    name: str
    description: str
    disabled_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: ServiceAccount) -> ServiceAccountOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, name=row.name, description=row.description, disabled_at=row.disabled_at,
            revision=row.revision,
        )  # fmt: skip


class ServiceAccountIn(Schema):
    """A service account to be made, with a role on the whole project."""

    name: str = Field(pattern=SLUG)
    description: str = Field("", max_length=500)
    role: str | None = Field(None, examples=["producer"])


class KeyOut(Schema):
    """An API key, without its secret."""

    id: str
    name: str
    prefix: str
    principal: str
    scopes: list[str]
    cidrs: list[str]
    attributes: dict[str, Any]
    limits: dict[str, Any]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="As services told, up to half a minute late")
    rotated_from: str | None
    revision: int

    @classmethod
    def show(cls, row: ApiKey) -> KeyOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id,
            name=row.name,
            prefix=f"hw_{row.key_prefix}",
            principal=str(row.service_account or row.user),
            scopes=row.scopes,
            cidrs=row.cidrs,
            attributes=row.attributes,
            limits=row.limits,
            created_at=row.created_at,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
            rotated_from=row.rotated_from.public_id if row.rotated_from else None,
            revision=row.revision,
        )


class NewKeyOut(KeyOut):
    """A fresh API key with its text, which is shown this once."""

    key: str


class KeyIn(Schema):
    """A key to be made, for a service account of the project or, without one, for the caller."""

    name: str = Field(min_length=1, max_length=100)
    service_account: str | None = Field(None, description="Its name")
    scopes: list[Annotated[str, Field(max_length=200)]] = Field(
        [], max_length=200, examples=[["dataset.ingest:flights"]]
    )
    expires_at: AwareDatetime | None = None
    cidrs: list[Annotated[str, Field(max_length=64)]] = Field(
        [], max_length=50, description="Networks it may be used from; none: anywhere", examples=[["10.1.0.0/16"]]
    )
    attributes: dict[str, Any] = Field(
        {},
        description="What row filters know of it as caller.<name>; takes policy.write",
        examples=[{"carriers": ["AA"]}],
    )
    limits: dict[str, float] = Field(
        {},
        description="Bounds on its queries: requests_per_second, concurrency, max_rows, max_bytes, "
        "scanned_bytes_per_day",
        examples=[{"requests_per_second": 20, "scanned_bytes_per_day": 50_000_000_000}],
    )


class RotateIn(ChangeIn):
    """How a key is followed by another."""

    overlap_hours: float = Field(24, ge=0, le=90 * 24, description="How long the old key stays open")
    expires_at: AwareDatetime | None = Field(None, description="Of the new key; default: as long a life as the old one")


class DatasetOut(Schema):
    """A dataset."""

    id: str
    name: str
    description: str
    archived_at: datetime | None
    active: dict[str, str] = Field(description="Environment to its active contract version")
    revision: int

    @classmethod
    def show(cls, row: Dataset) -> DatasetOut:
        """Return what the API says about ``row``."""
        active = row.activations.select_related("environment", "contract")
        return cls(
            id=row.public_id,
            name=row.name,
            description=row.description,
            archived_at=row.archived_at,
            active={item.environment.key: item.contract.version for item in active},
            revision=row.revision,
        )


class ContractSource(Schema):
    """A contract as an Open Data Contract Standard document, YAML or JSON."""

    text: str = Field(max_length=1 << 20)


class DatasetPatch(Schema):
    """What to change about a dataset."""

    description: str = Field(max_length=10_000)
    revision: int | None = Field(None, description=SEEN)


class ContractOut(Schema):
    """A version of a dataset's contract."""

    id: str
    number: int
    version: str
    state: str
    sha256: str
    created_at: datetime
    revision: int

    @classmethod
    def show(cls, row: ContractVersion) -> ContractOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, number=row.number, version=row.version, state=row.state, sha256=row.spec_sha256,
            created_at=row.created_at, revision=row.revision,
        )  # fmt: skip


class ContractDetail(ContractOut):
    """A version of a contract with its text and its compiled form."""

    source: str
    spec: dict[str, Any]


class TargetIn(ChangeIn):
    """The environment that something is done in, why, and what the caller last saw."""

    environment: str


class EndpointOut(Schema):
    """A SQL endpoint."""

    id: str
    name: str
    description: str
    archived_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: Endpoint) -> EndpointOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, name=row.name, description=row.description, archived_at=row.archived_at,
            revision=row.revision,
        )  # fmt: skip


class RevisionOut(Schema):
    """A sealed revision of an endpoint."""

    number: int
    sha256: str
    created_at: datetime
    source: str
    spec: dict[str, Any]

    @classmethod
    def show(cls, row: EndpointRevision) -> RevisionOut:
        """Return what the API says about ``row``."""
        return cls(
            number=row.number, sha256=row.spec_sha256, created_at=row.created_at, source=row.source, spec=row.spec
        )


class AuditOut(Schema):
    """One thing that happened."""

    id: str
    n: int
    at: datetime
    actor: dict[str, str]
    action: str
    target: dict[str, str]
    before: dict[str, Any]
    after: dict[str, Any]
    related: list[dict[str, Any]]
    reason: str
    request_id: str
    group_id: str
    hash: str

    @classmethod
    def show(cls, row: AuditEvent) -> AuditOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id,
            n=row.n,
            at=row.at,
            actor={"kind": row.actor_kind, "id": row.actor_id, "label": row.actor_label},
            action=row.action,
            target={"kind": row.target_kind, "id": row.target_id, "label": row.target_label},
            before=row.before,
            after=row.after,
            related=row.related,
            reason=row.reason,
            request_id=row.request_id,
            group_id=row.group_id,
            hash=row.hash,
        )
