"""The signed configuration that joins the two halves: compiled by control, obeyed by services.

One snapshot describes one environment completely. Its bytes are canonical (sorted keys, no spaces, UTF-8), so the
sha256 and the ed25519 signature are over exactly what travels and what lies on disk. The schema only grows:
readers ignore members they do not know.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from headwater.core.endpoints import CacheSpec, ColumnOrigin, ColumnSpec, LimitsSpec, LiveSpec
from headwater.core.flags.spec import FlagSpec
from headwater.core.key_limits import NO_LIMITS, KeyLimitsSpec
from headwater.core.monitoring_specs import MonitorSpec
from headwater.core.overrides import OverrideSpec
from headwater.core.permissions import is_allowed
from headwater.core.policies import PolicySpec, Viewer, make_viewer
from headwater.core.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Sized

SCHEMA_VERSION: Final = 1


class EnvironmentSpec(Spec):
    """Whose configuration this is. Identifiers carry their prefix; slugs are lower case.

    ``mask_key`` makes hashes of masked columns this environment's own; without one such columns are null.
    """

    id: str
    key: str
    project: str
    organization: str
    protected: bool = False
    mask_key: str = ""


class DatasetSpec(Spec):
    """A dataset as ingest and query need it.

    ``contracts`` maps a version such as ``1.0`` to the plain spec that ``contracts.spec`` reads;
    rows that name no version are held against ``active_version``. ``protected`` datasets show no rows without a policy.
    """

    id: str
    name: str
    active_version: str
    contracts: dict[str, dict[str, Any]]
    description: str = ""
    archived: bool = False
    protected: bool = False


class ParameterSpec(Spec):
    """A typed parameter of a SQL endpoint. An optional parameter that is absent binds its default, else NULL.

    A list (``is_list``) has at most ``max_items`` of ``type``, and ``default`` may be relative to the day it is asked
    (``relative``, as ``today-7d``). ``values_from`` is a SELECT of the values it may have. ``max_span`` is how many
    seconds it may be after other parameters.
    """

    name: str
    type: Literal["string", "integer", "number", "decimal", "boolean", "date", "timestamp"]
    required: bool = False
    default: Any = None
    description: str = ""
    values: tuple[Any, ...] = ()
    ge: float | None = None
    le: float | None = None
    max_length: int | None = None
    pattern: str | None = None
    is_list: bool = False
    max_items: int = 100
    relative: str | None = None
    values_from: str | None = None
    max_span: dict[str, float] = {}


class EndpointSpec(Spec):
    """One version of a SQL endpoint: checked text, its parameters, the datasets it touches and its limits.

    ``tables`` are all datasets below it, also by way of the endpoints it reads as views (``uses``, as ``daily@1``).
    ``roles`` limits callers further than ``endpoint.invoke`` does; empty means no further limit. ``key`` names the
    columns that identify a row. ``columns`` are its result's contract, inferred when ``is_inferred``; ``origins`` say
    what each of them is made of. After ``sunset_at`` it answers nobody any more.
    """

    id: str
    name: str
    revision: int
    sql: str
    tables: tuple[str, ...]
    parameters: tuple[ParameterSpec, ...] = ()
    description: str = ""
    roles: tuple[str, ...] = ()
    timeout_seconds: float = 10.0
    max_rows: int = 100_000
    version: int = 1
    deprecated_at: datetime | None = None
    sunset_at: datetime | None = None
    key: tuple[str, ...] = ()
    columns: tuple[ColumnSpec, ...] = ()
    is_inferred: bool = False
    origins: dict[str, tuple[ColumnOrigin, ...]] = {}
    uses: tuple[str, ...] = ()
    cache: CacheSpec = CacheSpec()
    limits: LimitsSpec = LimitsSpec()
    live: LiveSpec = LiveSpec()


class OutputSpec(Spec):
    """One named output of a model: element type and shape of one row (``()`` for a scalar).

    ``source`` is the artifact's own name for it where that differs; ``index`` picks one column of that.
    """

    name: str
    type: Literal["number", "integer", "string", "boolean"]
    shape: tuple[int, ...] = ()
    description: str = ""
    source: str | None = None
    index: int | None = None


class FeatureRefSpec(Spec):
    """An input field of a model that is filled from a feature view unless the request gives it."""

    field: str
    view: str
    feature: str


class FeatureSpec(Spec):
    """One feature of a view. ``kind`` says which members matter.

    ``column`` is the newest value of a dataset's column; ``aggregate`` folds a column over the ``window_seconds``
    before the instant asked about (``count`` needs no column); ``expression`` computes from features of the same view
    and from what the request brings. A feature without a value has ``default``.
    """

    name: str
    type: Literal["number", "integer", "string", "boolean"]
    kind: Literal["column", "aggregate", "expression"]
    column: str | None = None
    aggregate: Literal["count", "sum", "mean", "min", "max", "last", "distinct"] | None = None
    window_seconds: int | None = None
    expression: str | None = None
    default: Any = None
    description: str = ""


class FeatureInputSpec(Spec):
    """A value that the request brings for the expressions of a view."""

    name: str
    type: Literal["number", "integer", "string", "boolean", "timestamp"]


class FeatureViewSpec(Spec):
    """Features of entities, computed from one dataset the same way for training and for serving.

    ``entities`` are the dataset's columns that name one entity, ``entity_types`` their logical types. A row counts from
    ``delay_seconds`` after its event time, and with ``as_received`` not before it was received either. A value older
    than ``freshness_seconds`` is stale. What cannot be fetched, or not in time, is an error of the prediction or, with
    ``on_unavailable``, the features' defaults.
    """

    id: str
    name: str
    revision: int
    dataset: str
    entities: tuple[str, ...]
    event_time: str
    features: tuple[FeatureSpec, ...]
    entity_types: tuple[str, ...] = ()
    inputs: tuple[FeatureInputSpec, ...] = ()
    freshness_seconds: int | None = None
    delay_seconds: int = 0
    as_received: bool = False
    online: bool = True
    on_unavailable: Literal["error", "default"] = "error"
    description: str = ""


class ModelVersionSpec(Spec):
    """An immutable model version. ``inputs`` is a plain contract spec: the fields of one row, in signature order.

    ``options`` are the framework's own; ``profile_sha256`` names the reference profile that drift is measured against;
    ``examples`` are rows by name that warm the version up.
    """

    id: str
    number: int
    framework: Literal["onnx", "sklearn", "lightgbm", "xgboost", "python", "remote"]
    artifact_uri: str
    artifact_sha256: str
    inputs: dict[str, Any]
    outputs: tuple[OutputSpec, ...]
    options: dict[str, Any] = {}
    features: tuple[FeatureRefSpec, ...] = ()
    examples: tuple[dict[str, Any], ...] = ()
    profile_sha256: str | None = None
    memory_bytes: int = 2 << 30
    timeout_seconds: float = 30.0


class RouteSpec(Spec):
    """A share of a model's traffic, in basis points. Shadow routes see as much of it and answer nobody."""

    version: int
    role: Literal["primary", "canary", "shadow"] = "primary"
    weight_bps: int = 10_000


class RollbackSpec(Spec):
    """When a canary, or a newly promoted version, loses its traffic.

    It is judged over ``window_seconds`` once it has ``min_requests``; what is None is not judged.
    """

    max_error_bps: int | None = 500
    max_p99_ms: float | None = None
    min_requests: int = 50
    window_seconds: int = 60


class LogSpec(Spec):
    """What is logged of predictions: the share, what happens when the log cannot keep up, and inputs left out."""

    sample_bps: int = 10_000
    on_full: Literal["drop", "block"] = "drop"
    redact: tuple[str, ...] = ()


class ServingSpec(Spec):
    """How a model is served. Zero ``cache_entries`` is no cache, zero ``batch_wait_us`` no wait.

    ``sticky_input`` names the input that a canary's share is drawn by, where the request has no sticky key.
    """

    max_concurrency: int = 256
    max_waiting_rows: int = 8_192
    max_batch_rows: int = 1_024
    batch_wait_us: int = 0
    cache_entries: int = 0
    sticky_input: str | None = None
    log: LogSpec = LogSpec()
    rollback: RollbackSpec | None = None
    monitor: MonitorSpec = MonitorSpec()


class ModelSpec(Spec):
    """A model with the versions that may be served and the routes among them.

    Versions without a route are pinned: they answer where the path names them. ``fallback`` is one of them, the
    champion before this one, kept for models with rollback rules: it answers when the primary route is tripped.
    """

    id: str
    name: str
    versions: dict[int, ModelVersionSpec]
    routes: tuple[RouteSpec, ...]
    description: str = ""
    serving: ServingSpec = ServingSpec()
    fallback: int | None = None


class KeyPhase(Spec):
    """What a key allows from an instant on, because a grant behind it ends then."""

    starts_at: datetime
    allowances: tuple[str, ...]
    roles: tuple[str, ...] = ()


class KeySpec(Spec):
    """An API key as the data plane knows it: by the sha256 of its secret, with what it allows already compiled.

    ``later`` says what becomes of that as grants end, so that they end on time whether or not control is there.
    ``cidrs`` limits where the key may be used from; none: anywhere. ``attributes`` are for row filters, ``limits``
    bound what its queries may ask.
    """

    id: str
    prefix: str
    principal_id: str
    principal_label: str
    allowances: frozenset[str]
    roles: tuple[str, ...] = ()
    expires_at: datetime | None = None
    later: tuple[KeyPhase, ...] = ()
    groups: tuple[str, ...] = ()
    email: str | None = None
    cidrs: tuple[str, ...] = ()
    attributes: dict[str, Any] = {}
    limits: KeyLimitsSpec = NO_LIMITS

    def can(self, permission: str, resource: str) -> bool:
        """Return whether the key allows ``permission`` on ``resource``."""
        return is_allowed(self.allowances, permission, resource)

    def at(self, instant: datetime) -> KeySpec:
        """Return the key as it is at ``instant``, once the grants that ended by then are gone."""
        begun = [phase for phase in self.later if phase.starts_at <= instant]
        if not begun:
            return self
        phase = begun[-1]
        return self.model_copy(
            update={
                "allowances": frozenset(phase.allowances),
                "roles": phase.roles,
                "later": self.later[len(begun) :],
            }
        )

    @property
    def viewer(self) -> Viewer:
        """Return the key's holder as policies see them."""
        kind = "user" if self.principal_id.startswith("usr_") else "service_account"
        return make_viewer(
            id=self.principal_id,
            kind=kind,
            roles=self.roles,
            groups=self.groups,
            email=self.email,
            attributes=self.attributes,
        )


class Snapshot(Spec):
    """Everything the data plane needs to serve one environment. ``keys`` is indexed by lower-case sha256 hex."""

    schema_version: int = SCHEMA_VERSION
    number: int
    compiled_at: datetime
    environment: EnvironmentSpec
    datasets: dict[str, DatasetSpec] = {}
    endpoints: dict[str, EndpointSpec] = {}
    models: dict[str, ModelSpec] = {}
    features: dict[str, FeatureViewSpec] = {}
    flags: dict[str, FlagSpec] = {}
    overrides: dict[str, OverrideSpec] = {}
    keys: dict[str, KeySpec] = {}
    policies: dict[str, PolicySpec] = {}

    def count(self) -> int:
        """Return how many specs there are."""
        families: list[Sized] = [self.datasets, self.endpoints, self.models, self.features, self.flags]
        families += [self.overrides, self.keys, self.policies]
        return sum(map(len, families))

    def canonical_bytes(self) -> bytes:
        """Return the one byte string this snapshot signs as."""
        plain = self.model_dump(mode="json")
        for key in plain["keys"].values():
            key["allowances"].sort()
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
