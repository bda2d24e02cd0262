"""The digest that says whether two specs are the same."""

from __future__ import annotations

import hashlib
from typing import Any

from headwater.control.kit.plain import canonical


def sha256_of(spec: Any) -> str:
    """Return the sha256, in hexadecimal, of the canonical JSON of ``spec``."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()
