"""What the hot path tells the log and the monitoring about a request: references alone, nothing is computed there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from headwater.services.inference.batcher import Share
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.service import Caller


class Entry(msgspec.Struct):
    """A request that was answered, or that a shadow version answered unheard.

    ``route`` is champion, canary, shadow, fallback or override. ``features`` says for each row which features were
    fetched, as ``{"view.feature": [value, event time in microseconds]}``, None where a model fetches none.
    """

    version: ServedVersion
    caller: Caller
    request_id: str
    route: str
    ids: Sequence[str]
    share: Share
    predicted_at_us: int
    latency_us: int
    features: Sequence[Mapping[str, Any]] | None = None
    shadow_of: Sequence[str] | None = None
    """For a shadow's answers, the ids of the predictions that were served."""
    overrides: Sequence[Mapping[str, Any] | None] | None = None
    """By row, what was served in place of outputs; ``share`` has what the version itself said."""


class Failure(msgspec.Struct):
    """A request that a version did not answer: ``code`` is a request-level code, ``rows`` 0 where none was read."""

    version: ServedVersion
    route: str
    code: str
    rows: int
    failed_at_us: int
    latency_us: int


class Observer(Protocol):
    """Who is told. Both methods are called on the event loop, must not block, and never raise."""

    @property
    def is_full(self) -> bool:
        """Return whether an entry given now would be dropped; a model whose log must not drop waits or sheds then."""
        ...

    def add(self, entry: Entry) -> None:
        """Take an answered request, or drop and count it."""
        ...

    def failed(self, failure: Failure) -> None:
        """Take a request that failed."""
        ...
