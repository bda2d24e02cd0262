"""A project directory as it arrives: its files are read, and everything wrong with any of them is found at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from headwater.contracts.model import Contract
from headwater.contracts.odcs import parse_contract
from headwater.contracts.spec import contract_to_spec
from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.payload import ModelFile, ResourceFile, Resources
from headwater.control.dashboards.document import DashboardFile, parse_dashboard
from headwater.control.flags.document import FlagFile, parse_flag
from headwater.control.policies.document import PolicyFile, parse_policy
from headwater.control.reviews.files import QueueFile, parse_queue
from headwater.core.errors import HeadwaterError
from headwater.core.streams import EXPOSURES, OUTCOMES, QUERY_LOG, batch_log, prediction_log
from headwater.engines.features.definition import ViewFile, parse_view
from headwater.engines.query.endpoint_file import EndpointFile, parse_endpoint

if TYPE_CHECKING:
    from headwater.engines.models.checking import ArtifactReport
    from headwater.engines.models.manifest import ModelManifest

T = TypeVar("T")
RESERVED_PREFIXES: Final = ("_hw", prediction_log(""), batch_log(""), OUTCOMES, EXPOSURES, QUERY_LOG)


@dataclass(frozen=True, slots=True)
class FileError:
    """Something wrong with a file: which one, where in it, what, and the cure where one is known."""

    source: str
    path: str
    message: str

    def to_plain(self) -> dict[str, str]:
        """Return it as the problem document carries it."""
        return {"source": self.source, "path": self.path, "message": self.message}


@dataclass(frozen=True, slots=True)
class DeclaredDataset:
    """A dataset file that could be read."""

    file: ResourceFile
    contract: Contract
    spec: dict[str, Any]
    digest: str


@dataclass(frozen=True, slots=True)
class DeclaredEndpoint:
    """An endpoint file that could be read."""

    file: ResourceFile
    endpoint: EndpointFile


@dataclass(frozen=True, slots=True)
class DeclaredView:
    """A feature view file that could be read."""

    file: ResourceFile
    view: ViewFile


@dataclass(frozen=True, slots=True)
class DeclaredFlag:
    """A flag file that could be read."""

    file: ResourceFile
    flag: FlagFile


@dataclass(frozen=True, slots=True)
class DeclaredQueue:
    """A review queue's file that could be read."""

    file: ResourceFile
    queue: QueueFile


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model manifest that could be read."""

    file: ModelFile
    manifest: ModelManifest


@dataclass(frozen=True, slots=True)
class DeclaredPolicy:
    """A policy file that could be read."""

    file: ResourceFile
    policy: PolicyFile


@dataclass(frozen=True, slots=True)
class DeclaredDashboard:
    """A dashboard's file that could be read."""

    file: ResourceFile
    dashboard: DashboardFile


@dataclass(slots=True)
class Project:
    """What could be read, by name, and what could not; of models that are new also what loading them showed.

    Endpoints are by label: their first version by its name, later ones as ``daily@2``.
    """

    datasets: dict[str, DeclaredDataset] = field(default_factory=dict)
    endpoints: dict[str, DeclaredEndpoint] = field(default_factory=dict)
    views: dict[str, DeclaredView] = field(default_factory=dict)
    flags: dict[str, DeclaredFlag] = field(default_factory=dict)
    queues: dict[str, DeclaredQueue] = field(default_factory=dict)
    models: dict[str, DeclaredModel] = field(default_factory=dict)
    policies: dict[str, DeclaredPolicy] = field(default_factory=dict)
    dashboards: dict[str, DeclaredDashboard] = field(default_factory=dict)
    inspections: dict[str, ArtifactReport] = field(default_factory=dict)
    errors: list[FileError] = field(default_factory=list)


def read_project(resources: Resources) -> Project:
    """Read every file. Nothing is looked up: what the database must be asked about is checked by the planner."""
    project = Project()
    _read_all(resources.datasets, _read_dataset, project.datasets, project.errors)
    _read_all(resources.endpoints, _read_endpoint, project.endpoints, project.errors)
    _read_all(resources.features, _read_view, project.views, project.errors)
    _read_all(resources.flags, _read_flag, project.flags, project.errors)
    _read_all(resources.reviews, _read_queue, project.queues, project.errors)
    _read_all(resources.models, _read_model, project.models, project.errors)
    _read_all(resources.policies, _read_policy, project.policies, project.errors)
    _read_all(resources.dashboards, _read_dashboard, project.dashboards, project.errors)
    return project


def errors_in(source: str, error: HeadwaterError) -> list[FileError]:
    """Return what a reader found wrong with ``source``; one error when it did not list several."""
    listed = error.extra.get("errors")
    if isinstance(listed, list | tuple) and listed and all(isinstance(item, Mapping) for item in listed):
        return [_listed(source, item) for item in listed]
    detail = error.detail.removeprefix(f"{source}: ")
    return [FileError(source, str(error.extra.get("path", "")), detail + _cure(error.hint))]


def _listed(source: str, item: Mapping[str, Any]) -> FileError:
    where = [str(item["path"])] if item.get("path") else []
    where += [f"line {item['line']}"] if item.get("line") else []
    message = str(item.get("message") or item.get("detail") or dict(item))
    return FileError(source, ", ".join(where), message + _cure(item.get("hint")))


F = TypeVar("F", bound=ResourceFile)


def _read_all(
    files: Iterable[F], read: Callable[[F], tuple[str, T]], into: dict[str, T], errors: list[FileError]
) -> None:
    origins: dict[str, str] = {}
    for file in files:
        try:
            name, declared = read(file)
        except HeadwaterError as error:
            errors.extend(errors_in(file.source, error))
            continue
        if name in into:
            errors.append(FileError(file.source, "name", f"{name!r} is already declared by {origins[name]}"))
            continue
        into[name] = declared
        origins[name] = file.source


def _read_dataset(file: ResourceFile) -> tuple[str, DeclaredDataset]:
    contract = parse_contract(file.text, source=file.source)
    if contract.name.startswith(RESERVED_PREFIXES):
        raise HeadwaterError(
            "contract_invalid",
            f"{contract.name!r} is a reserved name",
            hint=f"choose a name that does not start with {' or '.join(map(repr, RESERVED_PREFIXES))}",
            extra={"path": "name"},
        )
    spec = contract_to_spec(contract)
    return contract.name, DeclaredDataset(file, contract, spec, sha256_of(spec))


def _read_endpoint(file: ResourceFile) -> tuple[str, DeclaredEndpoint]:
    endpoint = parse_endpoint(file.text, source=file.source)
    return endpoint.label, DeclaredEndpoint(file, endpoint)


def _read_view(file: ResourceFile) -> tuple[str, DeclaredView]:
    view = parse_view(file.text, source=file.source)
    return view.name, DeclaredView(file, view)


def _read_queue(file: ResourceFile) -> tuple[str, DeclaredQueue]:
    queue = parse_queue(file.text, source=file.source)
    return queue.key, DeclaredQueue(file, queue)


def _read_flag(file: ResourceFile) -> tuple[str, DeclaredFlag]:
    flag = parse_flag(file.text, source=file.source)
    return flag.key, DeclaredFlag(file, flag)


def _read_policy(file: ResourceFile) -> tuple[str, DeclaredPolicy]:
    policy = parse_policy(file.text, source=file.source)
    return policy.name, DeclaredPolicy(file, policy)


def _read_dashboard(file: ResourceFile) -> tuple[str, DeclaredDashboard]:
    dashboard = parse_dashboard(file.text, source=file.source)
    return dashboard.name, DeclaredDashboard(file, dashboard)


def _read_model(file: ModelFile) -> tuple[str, DeclaredModel]:
    # The manifest's reader loads the model runtime, which only projects with models should pay for.
    from headwater.engines.models.manifest import parse_manifest  # noqa: PLC0415

    manifest = parse_manifest(file.text, source=file.source)
    return manifest.name, DeclaredModel(file, manifest)


def _cure(hint: Any) -> str:
    return f"; {hint}" if hint else ""
