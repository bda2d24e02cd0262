"""What jobs are told to do: written by services, read by whoever works them off, perhaps in a later release."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from headwater.core.expressions.terms import Type
from headwater.core.overrides import OverrideSpec
from headwater.core.snapshot import DatasetSpec, FeatureRefSpec, FeatureViewSpec, ModelVersionSpec
from headwater.core.spec import Spec

BATCH_SCORE: Final = "batch_score"
"""The kind of job that has a model look at every row of a dataset."""
FEATURE_SKEW: Final = "feature_skew"
"""The kind of job that compares the features that were served with what their history says."""


class RowChoice(Spec):
    """Which rows of a dataset are meant: all, those for which ``where`` holds, those of a stretch of event time.

    ``names`` are the columns that ``where`` uses, with the type that each has there. ``since_us`` is the first
    microsecond that counts and ``until_us`` the first that does not.
    """

    where: str | None = None
    names: dict[str, Type] = Field(default_factory=dict)
    event_time: str | None = None
    since_us: int | None = None
    until_us: int | None = None


class FeatureSource(Spec):
    """A view that features come from, as of one version of its dataset's table.

    ``columns`` says which column of the rows is which part of the view's key, or what its expressions take.
    """

    view: FeatureViewSpec
    dataset: DatasetSpec
    files: tuple[str, ...] = ()
    table_version: int | None = None
    row_count: int = 0
    columns: dict[str, str]


class BatchScore(Spec):
    """Predictions for the rows of one version of a dataset.

    It is complete: neither the model nor the dataset is looked up again, so what is promoted, pushed or ingested in the
    meantime changes nothing.

    Attributes:
        files: the Parquet files of ``dataset_version``, in the order in which they are read.
        columns: the dataset's column for each input; inputs that are not in it have their default or no value.
        keys: columns that go with each prediction, to tell whose it is.
        redact: inputs that are not written beside the prediction.
        on_error: whether a bad row stops the job, or is written without outputs and with what is wrong (``null``).
        features: inputs that are fetched from ``views``, computed for each row as of the instant in its column
            ``as_of``, else as of ``as_of_us`` (microseconds).
        overrides: those of the model when the job was asked for; each holds until it says itself.
        chunk_rows: how many rows are read, scored and made durable together; resuming depends on it.
    """

    environment_id: str
    model: str
    version: ModelVersionSpec
    dataset: str
    dataset_version: int | None
    files: tuple[str, ...]
    columns: dict[str, str]
    features: tuple[FeatureRefSpec, ...] = ()
    views: dict[str, FeatureSource] = Field(default_factory=dict)
    as_of: str | None = None
    as_of_us: int | None = None
    rows: RowChoice = RowChoice()
    keys: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    on_error: Literal["stop", "null"] = "stop"
    principal_id: str
    request_id: str
    config_version: int
    overrides: tuple[OverrideSpec, ...] = ()
    max_batch_rows: int = 1_024
    chunk_rows: int = 8_192


class FeatureSkewCheck(Spec):
    """A comparison of the features that predictions were made of with what their views' history says.

    Attributes:
        version_id: the version whose predictions of ``since_us`` to ``until_us`` are looked at.
        needs: which inputs it fills from which features.
        views: the views of these, as they are now.
        datasets: what the views are computed from.
        sample: how many predictions are looked at at most.
    """

    environment_id: str
    model: str
    version: int
    version_id: str
    needs: tuple[FeatureRefSpec, ...]
    views: dict[str, FeatureViewSpec]
    datasets: dict[str, DatasetSpec]
    since_us: int
    until_us: int
    sample: int = 1_000
