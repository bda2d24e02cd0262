"""Values of model fields as plain JSON, the same bytes for the same values, secrets left out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from django.db import models

from headwater.control.kit.fields import SecretField, UnrecordedJSON

REDACTED: Final = "[redacted]"
LONGEST: Final = 4_000
"""Longer texts and documents are recorded by digest: they live in a sealed row of their own."""


def canonical(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def plain_fields(entity: models.Model, names: Iterable[str]) -> dict[str, Any]:
    """Return the named concrete fields of ``entity`` as plain JSON."""
    plain: dict[str, Any] = {}
    for name in names:
        field = entity._meta.get_field(name)
        if isinstance(field, SecretField | UnrecordedJSON):
            plain[name] = REDACTED
        elif isinstance(field, models.Field):
            plain[name] = plain_value(getattr(entity, field.attname))
    return plain


def plain_value(value: Any) -> Any:
    """Return ``value`` as JSON can hold it; what is too long becomes its digest and length."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict | list | tuple):
        text = canonical(_deep(value))
        return json.loads(text) if len(text) <= LONGEST else _digest(text)
    text = str(value)
    return text if len(text) <= LONGEST else _digest(text)


def _deep(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _deep(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_deep(item) for item in value]
    return value if isinstance(value, str) else plain_value(value)


def _digest(text: str) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "length": len(text)}
