"""Exact checks of values that are kept as bytes: free JSON, and base64."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from headwater.contracts.checks import QUOTE, Refusal, ValueCheck
from headwater.contracts.jsontext import has_huge_number
from headwater.contracts.model import Constraints


class JsonCheck(ValueCheck):
    """Free JSON, kept as its exact bytes."""

    expected = "JSON"
    _starts: Final = {"object": (b"{", "an object"), "array": (b"[", "an array")}

    def wire_type(self, constraints: Constraints) -> Any:
        """Return the untouched text."""
        self.start, self.expected = self._starts.get(constraints.format or "", (b"", self.expected))
        return Raw

    def value(self, raw: bytes) -> Raw:
        """Check one value; the row's check has seen to UTF-8 and depth."""
        if not raw.startswith(self.start):
            raise self.mismatch()
        if has_huge_number(raw):
            raise Refusal("malformed_json", "must not hold a number beyond the doubles", "finite numbers")
        return Raw(raw)


class BinaryCheck(ValueCheck):
    """Bytes, in base64 with padding."""

    expected = "base64 text"
    _decode = staticmethod(msgspec.json.Decoder(bytes).decode)

    def wire_type(self, constraints: Constraints) -> Any:
        """Return bytes within their lengths."""
        return Annotated[bytes, Meta(min_length=constraints.min_length, max_length=constraints.max_length)]

    def value(self, raw: bytes) -> bytes:
        """Check one value."""
        if raw[0] != QUOTE:
            raise self.mismatch()
        try:
            value: bytes = self._decode(raw)
        except msgspec.ValidationError as error:
            raise Refusal("invalid_format", "must be base64 with padding", "base64") from error
        self.require_length(len(value), "bytes")
        return value
