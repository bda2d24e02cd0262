"""The ``Idempotency-Key`` header, the same wherever it is taken."""

from __future__ import annotations

import re
from typing import Final

from headwater.core.errors import HeadwaterError

_BARE: Final = re.compile(rb"[A-Za-z0-9_.:~-]{1,255}")
_QUOTED: Final = re.compile(rb'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')


def parse_key(header: bytes) -> bytes:
    """Return the key in an ``Idempotency-Key`` header: a structured-field string or a bare token.

    Raises:
        HeadwaterError: ``idempotency_key_invalid``.
    """
    text = header.strip()
    if _BARE.fullmatch(text):
        return text
    quoted = _QUOTED.fullmatch(text)
    if quoted:
        return re.sub(rb"\\(.)", rb"\1", quoted[1])
    raise HeadwaterError(
        "idempotency_key_invalid",
        "an Idempotency-Key has 1 to 255 letters, digits and _.:~- or is such a string in double quotes",
        hint="a UUID is a good key",
    )
