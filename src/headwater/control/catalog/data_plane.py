"""What control asks the services over ``/internal/v1``: counts, receipts, quarantine, and the verdicts on it.

Control never opens the journal or the lake. When the services do not answer within the time given, the caller gets
``services_unavailable`` and says so to its reader; nothing here retries, because a page must not hang.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from headwater.control import configuration
from headwater.control.catalog.views import ViewAsked, Viewed
from headwater.core.errors import PROBLEMS, HeadwaterError
from headwater.core.snapshot import KeySpec

READ_SECONDS: Final = 3.0
RESOLVE_SECONDS: Final = 120.0
REPORT_SECONDS: Final = 20.0
"""Outcomes and shadows are joined when asked for, from tables that may be large."""
DISPOSITIONS: Final = ("received", "accepted", "duplicate", "stale", "quarantined", "rejected")
Verdict = Literal["replay", "discard"]
VIEW_SECONDS: Final = 15.0
"""How long a person waits for an answer on a page; a query may take that long."""
T = TypeVar("T")


class Answer(BaseModel):
    """A piece of a reply; members unknown here are ignored, so newer services can say more."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class NodeEnvironment(Answer):
    """Which snapshot of an environment a node runs."""

    id: str
    number: int | None = None
    sha256: str | None = None
    error: str | None = None
    config_age_seconds: float | None = None


class NodeStatus(Answer):
    """A node of the data plane and what hinders it."""

    node: str
    environments: tuple[NodeEnvironment, ...] = ()
    problems: tuple[str, ...] = ()


class DatasetStatus(Answer):
    """Counts and freshness of one dataset. ``unsealed_rows`` wait in the journal; ``rows`` lie in the table."""

    name: str
    counts: dict[str, int] = {}
    unsealed_rows: int = 0
    table_version: int | None = None
    rows: int | None = None
    last_received_at: datetime | None = None


class LedgerMinute(Answer):
    """What became of the rows that one principal sent to a dataset in one minute of the Unix epoch."""

    dataset: str
    principal_id: str = ""
    minute: int
    counts: dict[str, int] = {}


class Receipt(Answer):
    """One request that was answered: what became of its rows."""

    receipt: str
    received_at: datetime
    principal_id: str = ""
    counts: dict[str, int] = {}
    state: str = ""
    table_version: int | None = None


class SampleError(Answer):
    """One thing wrong with a quarantined row."""

    code: str
    path: str = ""
    message: str = ""
    expected: Any = None
    actual: str | None = None


class Sample(Answer):
    """A quarantined row as it came. ``raw`` is text for reading, never trusted as markup."""

    quarantine_id: str
    received_at: datetime
    raw: str | None = None
    errors: tuple[SampleError, ...] = ()


class VersionHealth(Answer):
    """How a version did in its last window. ``tripped`` says why the data plane stopped routing to it."""

    version: int
    route: str = ""
    requests: int = 0
    errors: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    window_seconds: float | None = None
    tripped: str | None = None


class ModelHealth(Answer):
    """A model and the versions that were asked."""

    model: str
    versions: tuple[VersionHealth, ...] = ()


class QuarantineGroup(Answer):
    """Rows of a dataset refused for the same reason. ``open`` counts those that wait for a verdict."""

    fingerprint: str
    dataset: str
    contract_version: str = ""
    code: str
    path: str = ""
    count: int
    open: int
    first_at: datetime
    last_at: datetime
    principal_ids: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class DataPlane:
    """A client of the services' internal API. Use it as a context manager: one connection serves a whole page."""

    base_url: str
    token: str = field(repr=False)
    timeout_seconds: float = READ_SECONDS
    transport: httpx.BaseTransport | None = None
    _client: list[httpx.Client] = field(default_factory=list, repr=False)

    def __enter__(self) -> Self:
        """Return the client; the connection opens with the first question."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        while self._client:
            self._client.pop().close()

    def status(self) -> NodeStatus:
        """Return the node that answers, its snapshots and its problems."""
        return self._read(NodeStatus, "status")

    def datasets(self, environment_id: str, names: Sequence[str] | None = None) -> Sequence[DatasetStatus]:
        """Return counts and freshness of the datasets of an environment: of all, or of those named."""
        if names is None:
            return self._read(list[DatasetStatus], "datasets", environment_id, member="datasets")
        wanted = list(names)
        if not wanted:
            return ()
        params = {"name": wanted}
        found = self._read(list[DatasetStatus], "datasets", environment_id, params=params, member="datasets")
        # Services of yesterday's version answer with all.
        return [status for status in found if status.name in wanted]

    def receipts(self, environment_id: str, dataset: str, *, limit: int = 20) -> Sequence[Receipt]:
        """Return the newest receipts of a dataset, newest first."""
        params = {"limit": str(limit)}
        return self._read(
            list[Receipt], "datasets", environment_id, dataset, "receipts", params=params, member="receipts"
        )

    def ledger(self, environment_id: str, *, since_minute: int) -> Sequence[LedgerMinute]:
        """Return what came in to an environment, minute by minute, since a minute of the Unix epoch."""
        params = {"since_minute": str(since_minute)}
        return self._read(list[LedgerMinute], "ledger", environment_id, params=params, member="rows")

    def quarantine_groups(self, environment_id: str, dataset: str | None = None) -> Sequence[QuarantineGroup]:
        """Return the quarantine groups of an environment, or of one dataset, with sample rows."""
        params = {"dataset": dataset} if dataset else {}
        return self._read(list[QuarantineGroup], "quarantine", environment_id, "groups", params=params, member="groups")

    def query_report(self, environment_id: str, day: date | None = None) -> dict[str, Any]:
        """Return what the query log says of a day (UTC; default today): ``endpoints`` by time, ``slowest`` queries."""
        params = {"day": day.isoformat()} if day is not None else {}
        body = _json(
            self._ask("GET", self._path("queries", environment_id, "report"), params=params, timeout=REPORT_SECONDS)
        )
        if not isinstance(body, dict) or not {"day", "endpoints", "slowest"} <= body.keys():
            raise _away("the services' answer is no report of queries")
        return body

    def model_health(self, environment_id: str) -> Sequence[ModelHealth]:
        """Return how the versions of each model of an environment did in their last window."""
        return self._read(list[ModelHealth], "models", environment_id, "health", member="models")

    def model_report(
        self, environment_id: str, model: str, version: int, *, minutes: int, evidence: bool = True
    ) -> dict[str, Any]:
        """Return the report of a version over the last ``minutes`` as it came.

        Without ``evidence``, outcomes and shadows are left out where the services can leave them out.
        """
        params = {"minutes": str(minutes), "evidence": str(evidence).lower()}
        return self._model(environment_id, model, version, "report", params)

    def model_quality(
        self, environment_id: str, model: str, version: int, *, minutes: int, settle_minutes: int
    ) -> dict[str, Any]:
        """Return the quality of a version's predictions of the last ``minutes`` but for the newest, as it came."""
        params = {"minutes": str(minutes), "settle_minutes": str(settle_minutes)}
        return self._model(environment_id, model, version, "quality", params)

    def _model(
        self, environment_id: str, model: str, version: int, what: str, params: Mapping[str, str]
    ) -> dict[str, Any]:
        path = self._path("models", environment_id, model, str(version), what)
        body = _json(self._ask("GET", path, params=params, timeout=REPORT_SECONDS))
        if not isinstance(body, dict):
            raise _away("the services' answer is no report")
        return body

    def view(self, environment_id: str, path: str, viewer: KeySpec, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Return what a reader of the console gets from a path of the data plane, under the reader's own policies.

        Args:
            environment_id: where.
            path: ``datasets/<name>/rows`` or ``endpoints/<name>``.
            viewer: the reader as the data plane knows callers.
            parameters: as text, as in a query string.

        Raises:
            HeadwaterError: ``services_unavailable``, ``payload_too_large``, or what the services answered.
        """
        body = _json(self._view(environment_id, path, viewer, {"parameters": dict(parameters)}))
        if not isinstance(body, dict):
            raise _away("the services' answer is no result")
        return body

    def view_file(self, environment_id: str, path: str, viewer: KeySpec, asked: ViewAsked) -> Viewed:
        """Return what ``view`` does as it came: in another format, longer, or not at all where it is as known.

        Raises:
            HeadwaterError: as ``view``.
        """
        reply = self._view(environment_id, path, viewer, asked.to_plain())
        return Viewed(
            reply.content,
            etag=reply.headers.get("etag", ""),
            media_type=reply.headers.get("content-type", ""),
            is_known=reply.status_code == 304,  # noqa: PLR2004 - not modified
        )

    def live_ticket(
        self, environment_id: str, endpoint: str, viewer: KeySpec, parameters: Mapping[str, str | list[str]]
    ) -> str:
        """Return where the reader's browser may watch an endpoint, below the address of the services.

        Raises:
            HeadwaterError: as ``view``.
        """
        body = _json(
            self._view(environment_id, f"endpoints/{endpoint}/live/tickets", viewer, {"parameters": dict(parameters)})
        )
        path = body.get("path") if isinstance(body, dict) else None
        if not isinstance(path, str) or not path.startswith("/v1/"):
            raise _away("the services' answer is no ticket")
        return path

    def _view(self, environment_id: str, path: str, viewer: KeySpec, asked: Mapping[str, Any]) -> httpx.Response:
        return self._ask(
            "POST",
            f"{self._path('viewing', environment_id)}/{quote(path)}",
            json={"viewer": viewer.model_dump(mode="json"), **asked},
            timeout=VIEW_SECONDS,
        )

    def resolve(
        self, environment_id: str, dataset: str, verdict: Verdict, *, fingerprint: str, requested_by: str
    ) -> dict[str, int]:
        """Replay or discard a quarantine group and return the counts of what became of its rows.

        Raises:
            HeadwaterError: ``services_unavailable``, or what the services answered. After a time-out the outcome is
                unknown; asking again is safe, because a row is replayed at most once.
        """
        reply = self._ask(
            "POST",
            self._path("quarantine", environment_id, dataset, verdict),
            json={"fingerprint": fingerprint, "requested_by": requested_by},
            timeout=RESOLVE_SECONDS,
        )
        body = _json(reply)
        counts = body.get("counts", body) if isinstance(body, dict) else {}
        return {name: count for name, count in counts.items() if type(count) is int}

    def _read(
        self, shape: type[T], *parts: str, params: Mapping[str, str | list[str]] | None = None, member: str = ""
    ) -> T:
        body = _json(self._ask("GET", self._path(*parts), params=dict(params or {})))
        try:
            return TypeAdapter(shape).validate_python(body[member] if member else body)
        except (ValidationError, KeyError, TypeError) as error:
            raise _away(f"the services' answer to {'/'.join(parts)} is not understood: {error}") from error

    def _path(self, *parts: str) -> str:
        return "/internal/v1/" + "/".join(quote(part, safe="") for part in parts)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        if not self._client:
            client = httpx.Client(
                base_url=self.base_url,
                timeout=self.timeout_seconds,
                headers={"Authorization": f"Bearer {self.token}"},
                transport=self.transport,
                trust_env=False,
            )
            self._client.append(client)
        try:
            reply = self._client[0].request(method, path, **options)
        except httpx.HTTPError as error:
            raise _away(f"{self.base_url} does not answer: {error or type(error).__name__}") from error
        if reply.status_code >= 400:  # noqa: PLR2004 - the first HTTP error status
            raise _refusal(reply)
        return reply


def _json(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        raise _away(f"the services answered {reply.status_code} without JSON") from error


def _refusal(reply: httpx.Response) -> HeadwaterError:
    """Return the services' own problem where they name one that is known here."""
    try:
        body = reply.json()
    except ValueError:
        body = {}
    code = body.get("code") if isinstance(body, dict) else None
    if code in PROBLEMS and code != "unauthenticated":
        return HeadwaterError(str(code), body.get("detail"), hint=body.get("hint"))
    if reply.status_code in (401, 403):
        return _away("the services refuse this node's token; both halves must use the same run/node.token")
    return _away(f"the services answered {reply.status_code}")


def _away(detail: str) -> HeadwaterError:
    return HeadwaterError("services_unavailable", detail, hint="check that `headwater serve services` is running")


def connect() -> DataPlane:
    """Return a client for the services of this installation, trusted by the home's node token.

    Raises:
        HeadwaterError: ``services_unavailable`` while there is no node token yet.
    """
    try:
        token = configuration.home().node_token.read_text(encoding="ascii").strip()
    except OSError as error:
        raise _away(f"the node token cannot be read: {error}") from error
    return DataPlane(configuration.current().services_url, token)
