"""How the ingest routes are told in OpenAPI: their handlers read raw requests, so FastAPI cannot know."""

from __future__ import annotations

from typing import Any, Final

from headwater.services.ingest.options import ENCODINGS

_ROW: Final = {"type": "object", "additionalProperties": True}
_COUNTS: Final = {
    "type": "object",
    "description": "`received` is the sum of the others",
    "properties": {
        name: {"type": "integer"} for name in ("received", "accepted", "duplicate", "stale", "quarantined", "rejected")
    },
}
_ROW_ERRORS: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "row": {"type": "integer", "description": "From 0, blank lines not counted"},
            "line": {"type": ["integer", "null"], "description": "From 1; NDJSON and CSV"},
            "byte_offset": {"type": "integer"},
            "key": {"type": ["string", "null"]},
            "disposition": {"type": "string", "enum": ["quarantined", "rejected"]},
            "quarantine_id": {"type": ["string", "null"]},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/RowError"}},
        },
    },
}
_VERDICT: Final = {
    "type": "object",
    "properties": {
        "receipt": {"type": "string"},
        "state": {"type": "string", "enum": ["durable", "committed"]},
        "dataset": {"type": "string"},
        "contract": {"type": "string"},
        "config_version": {"type": "integer"},
        "counts": _COUNTS,
        "journal": {
            "type": "object",
            "properties": {
                "partition": {"type": "integer"},
                "first_seq": {"type": ["integer", "null"]},
                "last_seq": {"type": ["integer", "null"]},
            },
        },
        "errors_total": {"type": "integer"},
        "errors_truncated": {"type": "boolean"},
        "error_summary": {"type": "array", "items": {"type": "object"}},
        "errors": _ROW_ERRORS,
    },
}


def _parameter(name: str, description: str, schema: dict[str, Any], where: str = "query") -> dict[str, Any]:
    return {"name": name, "in": where, "required": False, "description": description, "schema": schema}


_PARAMETERS: Final = [
    _parameter("format", "Takes the place of the Content-Type", {"enum": ["json", "ndjson", "csv"]}),
    _parameter(
        "on_error",
        "What becomes of bad rows; the contract's default",
        {"enum": ["quarantine", "reject_row", "reject_batch"]},
    ),
    _parameter(
        "ack", "`committed` waits up to 10 s until the rows are in the table", {"enum": ["durable", "committed"]}
    ),
    _parameter("errors", "How many bad rows are listed", {"enum": ["summary", "first100", "all"]}),
    _parameter("contract", "A contract version; the active one", {"type": "string"}),
    _parameter("delimiter", "CSV: one character", {"type": "string", "default": ","}),
    _parameter("quote", "CSV: one character", {"type": "string", "default": '"'}),
    _parameter("null", "CSV: the unquoted text that means null", {"type": "string", "default": ""}),
    _parameter("header", "CSV: whether the first line names the columns", {"enum": ["present", "absent"]}),
    _parameter("Idempotency-Key", "The same key and body get the same answer", {"type": "string"}, "header"),
    _parameter("Content-Encoding", "One of these", {"enum": sorted(filter(None, ENCODINGS))}, "header"),
    _parameter("Content-Digest", "`sha-256=:…:` of the body as sent (RFC 9530)", {"type": "string"}, "header"),
    _parameter("Prefer", "`return=minimal` for the counts alone", {"type": "string"}, "header"),
]
_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {"type": "array", "items": _ROW},
                    {"type": "object", "properties": {"rows": {"type": "array", "items": _ROW}}, "required": ["rows"]},
                    _ROW,
                ]
            }
        },
        "application/x-ndjson": {"schema": {"type": "string", "description": "One JSON object a line"}},
        "text/csv": {"schema": {"type": "string", "description": "RFC 4180"}},
    },
}


def _answer(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _VERDICT}}}


INGEST: Final[dict[str, Any]] = {
    "openapi_extra": {"parameters": _PARAMETERS, "requestBody": _BODY},
    "responses": {
        200: _answer("Every row was accepted, or was known already"),
        202: _answer("Durable, but not yet in the table (only with ack=committed)"),
        207: _answer("Durable; some rows are bad and were quarantined or rejected"),
        422: _answer("Every row is bad (with on_error=quarantine they are kept), or the batch was rejected"),
    },
}
VALIDATE: Final[dict[str, Any]] = {
    "openapi_extra": {"parameters": _PARAMETERS[:1] + _PARAMETERS[1:2] + _PARAMETERS[3:9], "requestBody": _BODY},
    "responses": {200: _answer("The verdicts; `status` is what POST …/rows would answer")},
}
