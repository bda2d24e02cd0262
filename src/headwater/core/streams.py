"""Names of streams: where rows of one dataset of one environment lie, in the journal as in the lake."""

from __future__ import annotations

from typing import Final

QUARANTINE: Final = "_hw_quarantine"
OUTCOMES: Final = "prediction_outcomes"
EXPOSURES: Final = "flag_exposures"
QUERY_LOG: Final = "query_log"


def stream_name(environment_id: str, dataset: str) -> str:
    """Return the stream of a dataset: ``<environment id>/<dataset>``."""
    return f"{environment_id}/{dataset}"


def split_stream(stream: str) -> tuple[str, str]:
    """Return environment id and dataset of a stream."""
    environment_id, _, dataset = stream.partition("/")
    return environment_id, dataset


def prediction_log(model: str) -> str:
    """Return the dataset that a model's predictions are logged to."""
    return f"predictions_{model}"


def batch_log(model: str) -> str:
    """Return the dataset that a model's batch jobs write their predictions to."""
    return f"batch_predictions_{model}"
