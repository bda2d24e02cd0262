"""The calls about models: predictions, what became of them, and whether features were served as history has them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import httpx

from headwater.client.calls import Call, Rows, read_object, segment
from headwater.client.encoding import encode_rows
from headwater.client.results import Counts, OutcomeReply, Prediction, PredictReply

Outcome = float | bool | str | Mapping[str, float | bool | str]
Explain = Literal["routing"]
_JSON: Final = {"Content-Type": "application/json"}


def predict(
    model: str,
    rows: Rows | None,
    *,
    version: int | None = None,
    entities: Rows | None = None,
    explain: Explain | None = None,
    sticky_key: str | None = None,
    timeout_ms: int | None = None,
    repeatable: bool = False,
) -> Call[PredictReply]:
    """Ask a model for predictions. Not repeatable unless said so: each request that was run is logged."""
    members = [(b"entities", entities), (b"rows", rows)]
    body = b",".join(
        b'"' + name + b'":[' + b",".join(encode_rows(values)) + b"]" for name, values in members if values is not None
    )
    headers = {**_JSON}
    if sticky_key is not None:
        headers["Hw-Sticky-Key"] = sticky_key
    if timeout_ms is not None:
        headers["Hw-Timeout-Ms"] = str(timeout_ms)
    return Call(
        "POST",
        f"{_path(model, version)}/predict",
        _read_predict,
        params=(("explain", explain),) if explain is not None else (),
        headers=headers,
        body=b"{" + body + b"}",
        repeatable=repeatable,
    )


def outcome(prediction_id: str, value: Outcome, observed_at: datetime | str | None) -> Call[OutcomeReply]:
    """Report what became of a prediction; once more is a duplicate and changes nothing."""
    body = json.dumps(_report(value, observed_at)).encode()
    return Call("POST", f"/v1/predictions/{segment(prediction_id)}/outcome", _read_outcomes, headers=_JSON, body=body)


def outcomes(reports: Iterable[Mapping[str, Any]]) -> Call[OutcomeReply]:
    """Report what became of many predictions."""
    body = b"\n".join(encode_rows(reports))
    headers = {"Content-Type": "application/x-ndjson"}
    return Call("POST", "/v1/predictions/outcomes", _read_outcomes, headers=headers, body=body)


def check_skew(model: str, *, version: int | None, hours: int, sample: int) -> Call[dict[str, Any]]:
    """Have a version's features checked; while a check of it is under way, that is the one."""
    body = json.dumps({"hours": hours, "sample": sample}).encode()
    return Call("POST", f"{_path(model, version)}/skew", read_object, headers=_JSON, body=body)


def skew(model: str, *, version: int | None) -> Call[dict[str, Any]]:
    """Look at the newest check of a version."""
    return Call("GET", f"{_path(model, version)}/skew", read_object)


def _path(model: str, version: int | None) -> str:
    return f"/v1/models/{segment(model)}" + (f"/versions/{version}" if version is not None else "")


def _report(value: Outcome, observed_at: datetime | str | None) -> dict[str, Any]:
    report: dict[str, Any] = {"outcome": dict(value) if isinstance(value, Mapping) else value}
    if observed_at is not None:
        report["observed_at"] = observed_at.isoformat() if isinstance(observed_at, datetime) else observed_at
    return report


def _read_predict(response: httpx.Response) -> PredictReply:
    body = read_object(response)
    return PredictReply(
        model=str(body["model"]),
        version=int(body["version"]),
        predictions=tuple(Prediction(str(one["id"]), one["outputs"]) for one in body["predictions"]),
        route=body.get("route"),
        warnings=tuple(body.get("warnings", ())),
        routing=body.get("routing"),
        overrides=tuple(body.get("overrides", ())),
    )


def _read_outcomes(response: httpx.Response) -> OutcomeReply:
    body = read_object(response)
    return OutcomeReply(
        receipt=str(body.get("receipt", "")), counts=Counts.read(body["counts"]), errors=tuple(body.get("errors", ()))
    )
