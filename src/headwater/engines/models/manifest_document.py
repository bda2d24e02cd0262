"""The members of ``model.yaml`` as pydantic reads them: types and bounds; what refers to what is checked later."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from headwater.core.monitoring_specs import MonitorSpec, QualitySpec
from headwater.core.snapshot import LogSpec, RollbackSpec, ServingSpec

MODEL_NAME: Final = r"^[a-z][a-z0-9_-]{0,62}$"
MEMBER_NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
FILE_NAME: Final = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}$"
MAX_EXAMPLES: Final = 100
Framework = Literal["onnx", "sklearn", "lightgbm", "xgboost", "python", "remote"]

_FORBID: Final = ConfigDict(extra="forbid", frozen=True)
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Bps = Annotated[int, Field(ge=0, le=10_000)]
_Share = Annotated[float, Field(ge=0, le=1)] | None
_Positive = Annotated[FiniteFloat, Field(gt=0)] | None


class Output(BaseModel):
    """One of ``outputs``."""

    model_config = _FORBID

    name: str = Field(pattern=MEMBER_NAME)
    type: str = Field(pattern="^(number|integer|string|boolean)$")
    shape: tuple[int, ...] = Field((), max_length=3)
    description: str = ""
    source: str | None = None
    index: int | None = Field(None, ge=0)


class FeatureRef(BaseModel):
    """One of ``features``."""

    model_config = _FORBID

    field: _Name
    view: _Name
    feature: _Name


class ExampleRow(BaseModel):
    """One of ``examples``."""

    model_config = _FORBID

    inputs: dict[str, Any] = Field(min_length=1)
    outputs: dict[str, Any] | None = None
    tolerance: FiniteFloat = Field(1e-4, ge=0)


class TrainingData(BaseModel):
    """``training``."""

    model_config = _FORBID

    dataset: _Name
    version: int | None = Field(None, ge=0)
    code: str | None = Field(None, max_length=500)
    rows: int | None = Field(None, ge=0)


class Resources(BaseModel):
    """``resources``."""

    model_config = _FORBID

    memory_mb: int = Field(2_048, ge=64, le=1 << 20)
    timeout_seconds: FiniteFloat = Field(30.0, gt=0, le=600)


class CheckLimits(BaseModel):
    """``checks``."""

    model_config = _FORBID

    max_latency_ms: _Positive = None
    max_size_mb: _Positive = None
    min_metrics: dict[str, FiniteFloat] = {}


class _Log(LogSpec):
    model_config = _FORBID

    sample_bps: _Bps = 10_000


class _Rollback(RollbackSpec):
    model_config = _FORBID

    max_error_bps: _Bps | None = 500
    max_p99_ms: _Positive = None
    min_requests: int = Field(50, ge=1)
    window_seconds: int = Field(60, ge=5, le=3_600)


class _Quality(QualitySpec):
    model_config = _FORBID

    window_hours: int = Field(168, ge=1, le=2_160)
    settle_minutes: int = Field(0, ge=0, le=129_600)
    min_outcomes: int = Field(100, ge=1)
    min_auc: _Share = None
    min_accuracy: _Share = None
    min_precision: _Share = None
    min_recall: _Share = None
    max_log_loss: _Positive = None
    max_brier: _Share = None
    max_calibration_error: _Share = None
    max_mae: _Positive = None
    max_rmse: _Positive = None
    max_bias: _Positive = None


class _Monitor(MonitorSpec):
    model_config = _FORBID

    window_minutes: int = Field(60, ge=1, le=10_080)
    min_rows: int = Field(200, ge=1)
    psi: _Positive = 0.2
    ks: _Positive = None
    js: _Positive = None
    null_rate: _Share = 0.1
    out_of_range_rate: _Share = 0.1
    error_rate: _Share = 0.05
    p99_ms: _Positive = None
    raise_after: int = Field(2, ge=1, le=1_000)
    clear_after: int = Field(3, ge=1, le=1_000)
    quality: _Quality = _Quality()


class Serving(ServingSpec):
    """``serving``: what a snapshot carries, but strict."""

    model_config = _FORBID

    max_concurrency: int = Field(256, ge=1, le=100_000)
    max_waiting_rows: int = Field(8_192, ge=1, le=1 << 24)
    max_batch_rows: int = Field(1_024, ge=1, le=1 << 20)
    batch_wait_us: int = Field(0, ge=0, le=1_000_000)
    cache_entries: int = Field(0, ge=0, le=1 << 20)
    log: _Log = _Log()
    rollback: _Rollback | None = None
    monitor: _Monitor = _Monitor()

    def to_spec(self) -> ServingSpec:
        """Return it as a snapshot carries it."""
        return ServingSpec.model_validate(self.model_dump())


class ManifestDocument(BaseModel):
    """The whole file. ``inputs`` are only known to be mappings."""

    model_config = _FORBID

    name: str = Field(pattern=MODEL_NAME)
    description: str = ""
    card: str = ""
    framework: Framework = "onnx"
    artifact: str | None = Field(None, pattern=FILE_NAME)
    license: str | None = Field(None, min_length=1, max_length=200)
    options: dict[str, Any] = {}
    inputs: list[dict[str, Any]] = Field(min_length=1)
    outputs: list[Output] = Field(min_length=1)
    features: list[FeatureRef] = []
    examples: list[ExampleRow] = Field([], max_length=MAX_EXAMPLES)
    training: TrainingData | None = None
    metrics: dict[str, FiniteFloat] = {}
    reference: str | None = Field(None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}\.(parquet|csv)$")
    resources: Resources = Resources()
    serving: Serving = Serving()
    checks: CheckLimits = CheckLimits()


class SklearnOptions(BaseModel):
    """``options`` of scikit-learn: the method whose answer an output takes that names no other as its source."""

    model_config = _FORBID

    method: str = Field("predict", pattern=r"^[a-z][a-z_]{0,62}$")


class PythonOptions(BaseModel):
    """``options`` of a Python class: where it is, as ``module:Class``, and whether it may use the network."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    network: bool = False
    class_: str | None = Field(
        None, alias="class", pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
    )


class RemoteOptions(BaseModel):
    """``options`` of a server of the Open Inference Protocol: its address and what it calls the model.

    ``headers_from_env`` names for each header the environment variable of the services that holds its value.
    ``binary`` is whether tensors travel as bytes; None asks the server what it can.
    """

    model_config = _FORBID

    url: str = Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")
    model: _Name
    version: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,100}$")
    headers_from_env: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")],
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,200}$")],
    ] = {}
    binary: bool | None = None


class NoOptions(BaseModel):
    """``options`` of frameworks that have none."""

    model_config = _FORBID


OPTIONS: Final[dict[str, type[BaseModel]]] = {
    "onnx": NoOptions,
    "sklearn": SklearnOptions,
    "lightgbm": NoOptions,
    "xgboost": NoOptions,
    "python": PythonOptions,
    "remote": RemoteOptions,
}
