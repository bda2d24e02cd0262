"""Attributes of keys as people write them: a name and a value a line."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError


def read_attributes(text: str) -> dict[str, Any]:
    """Return attributes by name.

    A value is a text, or JSON: a number, true or false, a text in quotes, a list; several texts may be listed with
    commas, so that ``carriers: UA, DL`` is a list of two.

    Raises:
        ValidationError: for a line without a name and a colon, or a name written twice.
    """
    found: dict[str, Any] = {}
    for line in text.splitlines():
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not colon or not name or not value:
            raise ValidationError(f"Write a name, a colon and a value, not {line.strip()[:60]!r}.")
        if name in found:
            raise ValidationError(f"{name[:60]!r} is there twice.")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return [part.strip() for part in text.split(",") if part.strip()] if "," in text else text
