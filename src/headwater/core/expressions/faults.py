"""What is wrong with an expression, and where."""

from __future__ import annotations


class ExpressionFault(ValueError):
    """An expression that cannot be used: what is wrong, at which character (from 1), and the cure if one is known."""

    def __init__(self, message: str, position: int, hint: str | None = None) -> None:
        """Keep all three; ``position`` counts from 0 here."""
        super().__init__(f"character {position + 1}: {message}")
        self.message = message
        self.position = position + 1
        self.hint = hint
