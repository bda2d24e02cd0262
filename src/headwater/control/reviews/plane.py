"""What reviews ask the services: quarantined rows and logged predictions, and where verdicts are put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.control.catalog.data_plane import RESOLVE_SECONDS, Answer, DataPlane, SampleError, Verdict, connect
from headwater.core.errors import HeadwaterError

READ_SECONDS = 20.0
"""The log of predictions is searched when asked for."""


class KeptRow(Answer):
    """A quarantined row. ``raw`` is text for reading, without what is not public; ``state`` is open until a verdict."""

    quarantine_id: str
    received_at: str
    contract_version: str = ""
    fingerprint: str = ""
    principal_id: str | None = None
    first_code: str = ""
    first_path: str = ""
    attempt: int = 1
    raw: str | None = None
    raw_sha256: str = ""
    errors: tuple[SampleError, ...] = ()
    state: str = "open"


class KeptRows(Answer):
    """A page of quarantined rows in the order of their identifiers."""

    rows: tuple[KeptRow, ...] = ()
    is_last: bool = True


class LoggedPrediction(Answer):
    """A prediction as it was logged, inputs that are not public left out."""

    prediction_id: str
    seq: int
    version: int
    route: str = ""
    principal_id: str | None = None
    predicted_at: str
    latency_us: int | None = None
    overrides: str | None = None
    priority: float = 0
    inputs: dict[str, Any]
    outputs: dict[str, Any]


class LoggedPredictions(Answer):
    """Predictions behind a position in the log, and the position up to which all are known."""

    predictions: tuple[LoggedPrediction, ...] = ()
    position: int = -1


class ReviewPlane(DataPlane):
    """The services' internal API as reviews use it."""

    def kept_rows(self, environment_id: str, dataset: str, *, after: str | None, limit: int) -> KeptRows:
        """Return quarantined rows of a dataset behind an identifier, whether they had a verdict or not."""
        params = {"limit": str(limit)} | ({"after": after} if after else {})
        return self._read(KeptRows, "quarantine", environment_id, dataset, "rows", params=params)

    def predictions(
        self,
        environment_id: str,
        model: str,
        *,
        after: int,
        limit: int,
        since_us: int,
        condition: str = "",
        priority: str = "",
        sample_bps: int = 10_000,
    ) -> LoggedPredictions:
        """Return logged predictions that fulfil a condition, oldest first."""
        params: Mapping[str, str] = {
            "after": str(after), "limit": str(limit), "since_us": str(since_us), "condition": condition,
            "priority": priority, "sample_bps": str(sample_bps),
        }  # fmt: skip
        return self._read(LoggedPredictions, "predictions", environment_id, model, params=params)

    def resolve_rows(
        self, environment_id: str, dataset: str, verdict: Verdict, ids: Sequence[str], *, requested_by: str
    ) -> dict[str, Any]:
        """Replay or discard single rows; asking again is safe, a row has one verdict."""
        body = {"quarantine_ids": list(ids), "requested_by": requested_by}
        return self._send(body, "quarantine", environment_id, dataset, verdict)

    def correct(
        self,
        environment_id: str,
        dataset: str,
        quarantine_id: str,
        changes: Mapping[str, Any],
        *,
        removed: Sequence[str] = (),
        requested_by: str,
    ) -> dict[str, Any]:
        """Replay a row with some of its fields changed."""
        body = {
            "quarantine_id": quarantine_id, "changes": dict(changes), "removed": list(removed),
            "requested_by": requested_by,
        }  # fmt: skip
        return self._send(body, "quarantine", environment_id, dataset, "correct")

    def label(self, environment_id: str, prediction_id: str, outcome: Any, *, requested_by: str) -> dict[str, Any]:
        """Say what became of a prediction; the same said again counts once."""
        body = {"rows": [{"prediction_id": prediction_id, "outcome": outcome}], "requested_by": requested_by}
        return self._send(body, "predictions", environment_id, "outcomes")

    def _send(self, body: Mapping[str, Any], *parts: str) -> dict[str, Any]:
        reply = self._ask("POST", self._path(*parts), json=body, timeout=RESOLVE_SECONDS)
        found = reply.json()
        if not isinstance(found, dict):
            raise HeadwaterError("services_unavailable", f"the services' answer to {'/'.join(parts)} is not understood")
        return found


def connect_reviews() -> ReviewPlane:
    """Return a client for the services of this installation; raises ``services_unavailable``."""
    services = connect()
    return ReviewPlane(services.base_url, services.token, timeout_seconds=READ_SECONDS, transport=services.transport)
