"""Answers that control asks for in the name of its readers: how they are wanted, and how they came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ViewAsked:
    """How an answer is wanted: with which parameters, in which format, how long at most, unless it is ``etag``."""

    parameters: Mapping[str, str | list[str]]
    accept: str = "application/json"
    max_bytes: int = 2 << 20
    etag: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return it as the services take it."""
        return {
            "parameters": dict(self.parameters), "accept": self.accept, "max_bytes": self.max_bytes,
            "if_none_match": self.etag,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Viewed:
    """An answer as it came; of one that is as known (``is_known``) there is no content."""

    content: bytes
    etag: str = ""
    media_type: str = ""
    is_known: bool = False
