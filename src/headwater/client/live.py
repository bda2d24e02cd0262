"""Live results on the client's side: the stream's text as events, and the events as a table that stays up to date."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from headwater.client import calls
from headwater.client.errors import ApiError, ClientError, Unreachable
from headwater.client.retry import RetryPolicy, may_retry

SILENT_SECONDS: Final = 45.0
"""A stream that sends nothing for so long, not even a sign of life, has been lost on the way."""
_SPOKEN: Final = frozenset({"snapshot", "patch", "problem"})
_NOT_FOUND: Final = 404


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


class Following:
    """One live result over as many streams as it takes: what to ask for next, and what came of it."""

    def __init__(self, url: str, endpoint: str, params: Mapping[str, Any] | None, retry: RetryPolicy) -> None:
        """Begin without anything; ``url`` is where the services are."""
        asked = calls.query(endpoint, params)
        self.path, self.params = f"{asked.path}/live", asked.params
        self.timeout = httpx.Timeout(SILENT_SECONDS, connect=5.0)
        self.table = Table()
        self._url = url
        self._retry = retry
        self._reader = EventReader()
        self._last_id: str | None = None
        self._attempt = 1

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers of the next request."""
        return {"Accept": "text/event-stream", **({"Last-Event-ID": self._last_id} if self._last_id else {})}

    def begin(self) -> None:
        """Forget what was cut off: another stream begins."""
        self._reader = EventReader()

    def take(self, chunk: bytes) -> Iterator[Table]:
        """Return the table after each event that tells of it; raises ``ApiError`` when the result is gone for good."""
        self._attempt = 1
        for event in self._reader.feed(chunk):
            self._last_id = event.id or self._last_id
            if event.kind == "gone":
                raise ApiError(_NOT_FOUND, event.data, headers={})
            self.table.apply(event.kind, event.data)
            if event.kind in _SPOKEN:
                yield self.table

    def pause(self, outcome: httpx.Response | httpx.TransportError | None) -> float:
        """Return how many seconds to wait before asking again, after a refusal, a failure, or the end of a stream.

        Raises:
            ApiError: asking again would not help.
            Unreachable: no answer came, after every retry.
        """
        if outcome is None:
            return self._reader.retry_seconds or self._retry.first_seconds
        refusal = outcome if isinstance(outcome, httpx.Response) else None
        if self._attempt >= self._retry.attempts or not may_retry(outcome, repeatable=True):
            if isinstance(outcome, httpx.TransportError):
                raise Unreachable(self._url, outcome) from outcome
            raise ApiError.from_response(outcome)
        wait = self._retry.wait_seconds(self._attempt, refusal)
        self._attempt += 1
        return wait
