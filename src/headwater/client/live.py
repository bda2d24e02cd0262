"""Live results on the client's side: the stream's text as events, and the events as a table that stays up to date."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headwater.client.errors import ClientError

LAST: Final = frozenset({"reauth", "gone"})
"""The kinds of event that end a stream."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event as it came: its kind, its id (None where it has none) and its data."""

    kind: str
    id: str | None
    data: dict[str, Any]


class EventReader:
    """Reads server-sent events from a stream's text, however it is cut. ``retry_seconds`` is what the server asked."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        self.retry_seconds: float | None = None
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[StreamEvent]:
        """Return the events that ``chunk`` completes."""
        *texts, self._rest = (self._rest + chunk).split(b"\n\n")
        for text in texts:
            event = self._read(text)
            if event is not None:
                yield event

    def _read(self, text: bytes) -> StreamEvent | None:
        fields: dict[str, str] = {}
        for line in text.decode().split("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if fields.get("retry", "").isdigit():
            self.retry_seconds = int(fields["retry"]) / 1_000
        if "data" not in fields:
            return None
        data = json.loads(fields["data"])
        if not isinstance(data, dict):
            raise ClientError(f"the server sent {type(data).__name__} where an object was expected")
        return StreamEvent(fields.get("event", "message"), fields.get("id"), data)


@dataclass(slots=True)
class Table:
    """The rows of a live result as the events so far make them.

    Attributes:
        rows: dictionaries, in order.
        meta: what the server says about them: columns, table versions, policy, key.
        problem: why there is no newer result, while there is none; the rows are the last good ones.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    meta: dict[str, Any] = field(default_factory=dict)
    problem: dict[str, Any] | None = None

    def apply(self, kind: str, data: Mapping[str, Any]) -> None:
        """Take an event in; kinds that say nothing about rows are ignored."""
        if kind == "problem":
            self.problem = dict(data)
        elif kind == "snapshot":
            self.rows, self.meta, self.problem = list(data["data"]), dict(data["meta"]), None
        elif kind == "patch":
            self._patch(data["upsert"], data["delete"])
            self.meta, self.problem = {**self.meta, **data["meta"]}, None

    def _patch(self, upsert: Iterable[Mapping[str, Any]], delete: Iterable[Iterable[Any]]) -> None:
        """Take away what goes or comes anew, then put in what comes, the first place first."""
        key = self.meta["key"]
        leaving = {tuple(identity) for identity in delete}
        coming = [(one["at"], one["row"]) for one in upsert]
        leaving.update(tuple(row[name] for name in key) for _, row in coming)
        self.rows = [row for row in self.rows if tuple(row[name] for name in key) not in leaving]
        for place, row in coming:
            self.rows.insert(place, row)
