"""What is wrong with one row: collected exactly, bounded, and without values that are not public."""

from __future__ import annotations

from typing import Any, Final

from headwater.contracts.rows import FieldError

MAX_ERRORS: Final = 20
MAX_SHOWN: Final = 64
REDACTED: Final = "<redacted>"


class Findings:
    """The errors of one row and the unknown members found on the way.

    Attributes:
        errors: at most ``MAX_ERRORS`` of them, in the order of the contract's fields.
        extras: unknown members by name; a struct with unknown members is a nested mapping.
    """

    __slots__ = ("errors", "extras")

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.errors: list[FieldError] = []
        self.extras: dict[str, Any] = {}

    def add(self, code: str, path: str, message: str, *, expected: Any = None, actual: str | None = None) -> None:
        """Note one error."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(FieldError(code, path, message, expected, actual))


def shown(raw: bytes, *, private: bool) -> str:
    """Return a value's JSON text as an error may show it."""
    return REDACTED if private else raw[: MAX_SHOWN * 4].decode(errors="replace")[:MAX_SHOWN]
