"""Errors with stable codes, rendered as RFC 9457 problem details.

``PROBLEMS`` and ``ROW_CODES`` are the registries: the reference documentation and the client's enumerations
are generated from them, and an unregistered code is a programming error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

MEDIA_TYPE: Final = "application/problem+json"
TYPE_BASE: Final = "https://headwater.dev/problems/"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a request-level code means: its HTTP status and one plain sentence."""

    status: int
    title: str


_REQUEST: Final[dict[str, Problem]] = {
    # reading the request
    "empty_body": Problem(400, "The request has no body."),
    "malformed_body": Problem(400, "The body cannot be read as the declared format."),
    "invalid_parameter": Problem(400, "A query or path parameter is not valid."),
    "invalid_header": Problem(400, "A header is not valid."),
    "digest_mismatch": Problem(400, "The body does not match its Content-Digest."),
    "idempotency_key_invalid": Problem(400, "The Idempotency-Key is not valid."),
    "unauthenticated": Problem(401, "A valid API key is needed."),
    "forbidden": Problem(403, "The caller may not do this."),
    "not_found": Problem(404, "There is nothing at this address."),
    "dataset_not_found": Problem(404, "There is no such dataset."),
    "endpoint_not_found": Problem(404, "There is no such endpoint."),
    "feature_view_not_found": Problem(404, "There is no such feature view."),
    "flag_not_found": Problem(404, "There is no such flag."),
    "job_not_found": Problem(404, "There is no such job."),
    "model_not_found": Problem(404, "There is no such model."),
    "receipt_not_found": Problem(404, "There is no such receipt."),
    "method_not_allowed": Problem(405, "This method is not allowed here."),
    "not_acceptable": Problem(406, "None of the accepted formats can be produced."),
    "request_timeout": Problem(408, "The body stopped arriving."),
    "conflict": Problem(409, "The request conflicts with the current state."),
    "idempotency_in_progress": Problem(409, "A request with this Idempotency-Key is in progress."),
    "contract_version_unknown": Problem(409, "The contract version is not active."),
    "channel_fenced": Problem(409, "The channel was opened again by somebody else."),
    "offset_gap": Problem(409, "Offsets are missing before this one."),
    "endpoint_gone": Problem(410, "This version of the endpoint is not served any more."),
    "cursor_expired": Problem(410, "The version of the data that the pages are of is gone."),
    "dataset_archived": Problem(410, "The dataset is archived."),
    "precondition_failed": Problem(412, "The representation is the one the caller has."),
    "payload_too_large": Problem(413, "The body is too large."),
    "decompressed_too_large": Problem(413, "The body is too large once decompressed."),
    "compression_ratio": Problem(413, "The body expands too much."),
    "too_many_rows": Problem(413, "The body has too many rows."),
    "result_too_large": Problem(413, "The result has too many rows."),
    "unsupported_media_type": Problem(415, "The content type is not supported."),
    "unsupported_encoding": Problem(415, "The content encoding is not supported."),
    "idempotency_key_reused": Problem(422, "The Idempotency-Key was used with another body."),
    "schema_mismatch": Problem(422, "The columns do not fit the contract."),
    "batch_rejected": Problem(422, "The batch has bad rows and was rejected as a whole."),
    "all_rows_invalid": Problem(422, "Every row is bad."),
    "parameter_invalid": Problem(422, "A parameter of the endpoint is not valid."),
    "sql_rejected": Problem(422, "The SQL is not allowed here."),
    "query_too_costly": Problem(422, "The query would read too much."),
    "sql_failed": Problem(422, "The SQL could not be run."),
    "input_invalid": Problem(422, "The model's input does not fit its signature."),
    "contract_invalid": Problem(422, "The contract is not valid."),
    "policy_invalid": Problem(422, "The policy is not valid."),
    "project_invalid": Problem(422, "The project directory is not valid."),
    "flag_invalid": Problem(422, "The flag is not valid."),
    "dashboard_invalid": Problem(422, "The dashboard is not valid."),
    "setting_invalid": Problem(422, "A setting is not valid."),
    "provider_unusable": Problem(422, "The identity provider cannot be used."),
    "rate_limited": Problem(429, "Too many requests."),
    "quota_exceeded": Problem(429, "The quota is used up."),
    "internal": Problem(500, "Something went wrong on our side."),
    "model_failed": Problem(500, "The model raised an error."),
    "transfer_coding_unsupported": Problem(501, "The transfer coding is not supported."),
    "overloaded": Problem(503, "The server is busy; try again shortly."),
    "journal_unavailable": Problem(503, "The journal cannot take rows now; nothing was stored."),
    "storage_exhausted": Problem(503, "The disk is nearly full; nothing was stored."),
    "storage_unavailable": Problem(503, "A table that was there is gone or cannot be read."),
    "config_unavailable": Problem(503, "The configuration is not available yet."),
    "model_unavailable": Problem(503, "The model is not ready."),
    "services_unavailable": Problem(503, "The data services do not answer."),
    "mail_unavailable": Problem(503, "The mail could not be sent."),
    "resolver_unavailable": Problem(503, "The name servers do not answer."),
    "rendering_unavailable": Problem(503, "The image cannot be drawn now."),
    "routes_unavailable": Problem(503, "These routes of the project could not be loaded."),
    "features_unavailable": Problem(503, "The features cannot be read now."),
    "features_late": Problem(504, "The features did not come in time."),
    "model_timeout": Problem(504, "The model took longer than it may."),
    "query_timeout": Problem(504, "The query took longer than it may."),
    # on the machine rather than on the wire
    "secret_unreadable": Problem(500, "A stored secret cannot be read."),
    "home_unusable": Problem(500, "The home directory cannot be used."),
    "home_version": Problem(500, "The home was written by another version of Headwater."),
    "home_in_use": Problem(500, "Another Headwater uses this home."),
    "port_taken": Problem(500, "The port is in use."),
    "snapshot_invalid": Problem(500, "The snapshot cannot be trusted."),
}
PROBLEMS: Final[Mapping[str, Problem]] = MappingProxyType(_REQUEST)

_ROW: Final[dict[str, str]] = {
    "malformed_json": "not valid JSON",
    "malformed_csv": "not a valid CSV record",
    "not_an_object": "a row must be an object",
    "row_too_large": "the row is too large",
    "too_deep": "the row is nested too deeply",
    "bad_encoding": "not valid UTF-8",
    "bad_column_count": "the row has another number of columns than the header",
    "missing_field": "the field is required",
    "null_not_allowed": "null is not allowed",
    "unknown_field": "the field is not in the contract",
    "type_mismatch": "the value has another type",
    "out_of_range": "the number is out of range",
    "precision_loss": "the value cannot be held exactly",
    "too_long": "the text is too long",
    "too_short": "the text is too short",
    "too_many_items": "the list has too many items",
    "too_few_items": "the list has too few items",
    "pattern_mismatch": "the text does not match the pattern",
    "invalid_format": "the text does not have the declared format",
    "not_in_enum": "the value is not one of the allowed ones",
    "invalid_timestamp": "not a valid timestamp",
    "timestamp_without_timezone": "the timestamp has no offset",
    "too_late": "the event is too old",
    "in_future": "the event lies in the future",
    "key_missing": "the key is missing",
    "duplicate_conflict": "a row with this key and other content exists",
    "reference_missing": "the referenced row does not exist",
    "tenant_mismatch": "the row belongs to another tenant",
    "entity_missing": "nothing is known about the entity",
    "feature_stale": "the feature's value is too old",
    "rule_failed": "a rule of the contract failed",
}
ROW_CODES: Final[Mapping[str, str]] = MappingProxyType(_ROW)


class HeadwaterError(Exception):
    """An error a person can act on: a stable code, what happened, where, and the cure.

    Attributes:
        code: a key of ``PROBLEMS``.
        detail: one sentence about this occurrence.
        hint: what to do about it.
        retry_after_seconds: when trying again may help.
        extra: further members of the problem document, for instance ``errors``.
    """

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        hint: str | None = None,
        retry_after_seconds: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Build the error; ``code`` must be registered in ``PROBLEMS``."""
        problem = PROBLEMS[code]
        self.code = code
        self.status = problem.status
        self.title = problem.title
        self.detail = detail or problem.title
        self.hint = hint
        self.retry_after_seconds = retry_after_seconds
        self.extra = dict(extra or {})
        super().__init__(self.detail)

    def to_problem(self, *, instance: str, request_id: str) -> dict[str, Any]:
        """Return the problem document (RFC 9457 §3) for this occurrence."""
        body: dict[str, Any] = {
            "type": TYPE_BASE + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
        }
        if self.hint:
            body["hint"] = self.hint
        if self.retry_after_seconds is not None:
            body["retry_after"] = self.retry_after_seconds
        return body | self.extra
