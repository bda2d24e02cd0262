"""The client that blocks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, TypeVar

import httpx

from headwater.client import calls, features, flags, jobs
from headwater.client.errors import ClientError, Unreachable
from headwater.client.framing import BATCH_ROWS, Format
from headwater.client.results import IngestReply, IngestSummary, QueryResult
from headwater.client.retry import RetryPolicy, may_retry
from headwater.client.sync_live import LiveMethods
from headwater.client.sync_models import ModelMethods

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")


class Client(ModelMethods, LiveMethods):
    """Talks to the services; safe to share among threads, and closed by ``with`` or ``close``.

    Every method raises ``ApiError`` for an answer that is an error and ``Unreachable`` when none comes; what may be
    tried again is, as the server asks for it.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retry: RetryPolicy | None = None,
        timeout_seconds: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare the connection; nothing is sent yet.

        Args:
            url: where the services are; default ``HEADWATER_URL``, else port 8001 of this machine.
            api_key: ``hw_…``; default ``HEADWATER_API_KEY``.
            retry: how often and how patiently to try again.
            timeout_seconds: how long one answer may take.
            transport: another way to carry requests, for tests.
        """
        connection = calls.Connection.to(url, api_key)
        self._retry = retry or RetryPolicy()
        self._http = httpx.Client(
            base_url=connection.url,
            headers=dict(connection.headers),
            timeout=httpx.Timeout(timeout_seconds, connect=5.0),
            transport=transport,
        )

    def ingest(
        self,
        dataset: str,
        data: calls.Rows | bytes | BinaryIO | Path,
        *,
        format: Format | None = None,  # noqa: A002 - the word the API uses
        idempotency_key: str | None = None,
        batch_rows: int = BATCH_ROWS,
        params: Mapping[str, Any] | None = None,
    ) -> IngestSummary:
        """Send rows and return what became of them.

        Args:
            dataset: its name.
            data: dictionaries, a body, an open binary stream or a file; all but a body are sent in batches.
            format: ``ndjson``, ``json`` or ``csv``; needed for bytes and streams, guessed from a file's name.
            idempotency_key: names the input so that sending it again within the retention stores nothing twice;
                without one, only the retries of this call are protected.
            batch_rows: rows in one request, which is also what is stored together or not at all.
            params: further parameters of the request, such as ``on_error`` or ``null``.
        """
        summary = IngestSummary()
        for reply in self.ingest_each(
            dataset, data, format=format, idempotency_key=idempotency_key, batch_rows=batch_rows, params=params
        ):
            summary.add(reply)
        return summary

    def ingest_each(
        self,
        dataset: str,
        data: calls.Rows | bytes | BinaryIO | Path,
        *,
        format: Format | None = None,  # noqa: A002 - the word the API uses
        idempotency_key: str | None = None,
        batch_rows: int = BATCH_ROWS,
        params: Mapping[str, Any] | None = None,
    ) -> Iterator[IngestReply]:
        """Send rows like ``ingest`` and return each answer as it comes."""
        for call in calls.ingest_calls(
            dataset, data, format, key=idempotency_key, batch_rows=batch_rows, params=params
        ):
            yield self.send(call)

    def query(self, endpoint: str, params: Mapping[str, Any] | None = None) -> QueryResult:
        """Call a SQL endpoint and return its rows as dictionaries."""
        return self.send(calls.query(endpoint, params))

    def pages(
        self, endpoint: str, params: Mapping[str, Any] | None = None, *, page_rows: int = 1_000
    ) -> Iterator[QueryResult]:
        """Call a SQL endpoint page by page; all pages are of the same version of the data.

        Raises:
            ApiError: ``cursor_expired`` when that version is gone before the last page.
        """
        page = self.send(calls.first_page(endpoint, params, page_rows))
        yield page
        while page.cursor is not None:
            page = self.send(calls.next_page(endpoint, page.cursor))
            yield page

    def endpoint(self, name: str, /, **params: Any) -> QueryResult:
        """Call a SQL endpoint with its parameters by name; ``query`` takes those that are no names in Python."""
        return self.query(name, params)

    def query_bytes(
        self, endpoint: str, params: Mapping[str, Any] | None = None, *, media_type: str = "text/csv"
    ) -> bytes:
        """Call a SQL endpoint and return its answer in another format, as it came."""
        return self.send(calls.query_bytes(endpoint, params, media_type))

    def query_arrow(self, endpoint: str, params: Mapping[str, Any] | None = None) -> pa.Table:
        """Call a SQL endpoint and return an Arrow table; needs pyarrow."""
        import pyarrow.ipc  # noqa: PLC0415 - only who asks for Arrow needs it

        body = self.query_bytes(endpoint, params, media_type="application/vnd.apache.arrow.stream")
        return pyarrow.ipc.open_stream(body).read_all()

    def batch(
        self,
        model: str,
        dataset: str,
        *,
        version: int | None = None,
        where: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        columns: Mapping[str, str] | None = None,
        as_of: str | None = None,
        on_error: Literal["null", "stop"] = "stop",
        idempotency_key: str | None = None,
    ) -> str:
        """Have a model look at the rows of a dataset; return the job.

        Args:
            model: its name.
            dataset: whose rows are scored, as they are now.
            version: of the model; default: the one that answers.
            where: a condition over the dataset's columns.
            since: rows whose event time is not before this.
            until: rows whose event time is before this.
            columns: the column for an input, or for a part of the key that features are fetched by, not called like it.
            as_of: the column with the instant that features are as of; default: now.
            on_error: ``stop`` at the first bad row, or write bad rows without outputs (``null``).
            idempotency_key: names the job, so that asking for it again starts no second one.
        """
        call = jobs.batch(
            model,
            dataset,
            version=version,
            where=where,
            since=since,
            until=until,
            columns=columns,
            as_of=as_of,
            on_error=on_error,
            key=idempotency_key,
        )
        return str(self.send(call)["job"])

    def job(self, job: str) -> dict[str, Any]:
        """Return how a job is: state, progress, counts, error."""
        return self.send(jobs.find(job))

    def jobs(self, *, limit: int = 50) -> list[dict[str, Any]]:
        """Return the newest jobs."""
        found: list[dict[str, Any]] = self.send(jobs.recent(limit))["jobs"]
        return found

    def cancel_job(self, job: str) -> dict[str, Any]:
        """Cancel a job; what it has written stays."""
        return self.send(jobs.cancel(job))

    def wait_for_job(self, job: str, *, poll_seconds: float = 1.0) -> dict[str, Any]:
        """Return a job once it has succeeded, failed or been cancelled."""
        while True:
            found = self.job(job)
            if found["state"] in jobs.FINAL:
                return found
            time.sleep(poll_seconds)

    def datasets(self) -> dict[str, Any]:
        """Return the datasets of the environment, as the server describes them."""
        return self.send(calls.get("/v1/datasets"))

    def dataset(self, name: str) -> dict[str, Any]:
        """Return contract, counts and freshness of a dataset."""
        return self.send(calls.get("/v1/datasets", name))

    def receipt(self, receipt: str) -> dict[str, Any]:
        """Return what became of an ingest request: its counts, and the table version once the rows are in the lake."""
        return self.send(calls.get("/v1/receipts", receipt))

    def feature_views(self) -> list[dict[str, Any]]:
        """Return the feature views of the environment, with what each feature is computed as."""
        return self.send(features.list_views())

    def feature_view(self, name: str) -> dict[str, Any]:
        """Return one feature view."""
        return self.send(calls.get("/v1/features", name))

    def read_features(self, view: str, entities: calls.Rows) -> list[dict[str, Any]]:
        """Read the features of entities as they are now: for each its values, event time and statuses."""
        results: list[dict[str, Any]] = (self.send(features.read(view, entities)))["results"]
        return results

    def feature_history(self, view: str, labels: features.Labels, *, time: str) -> list[dict[str, Any]]:
        """Return labels with the features that their entities had at the labels' times.

        Args:
            view: its name.
            labels: rows with the entity's keys, a time and whatever else shall go through; or a file of them.
            time: the labels' time column.
        """
        return features.rows_of(self.feature_history_bytes(view, labels, time=time, form="json"))

    def feature_history_bytes(
        self, view: str, labels: features.Labels, *, time: str | None = None, form: str = "csv"
    ) -> bytes:
        """Return such a frame as it comes: ``csv``, ``json`` or ``arrow``."""
        return self.send(features.history(view, labels, time=time, form=form))

    def flag(self, key: str, default: T, context: Mapping[str, Any] | None = None) -> T:
        """Return a flag's value for a context, and ``default`` whenever there is none of its type: it never raises.

        Args:
            key: the flag's.
            default: what the code does without an answer.
            context: attributes that rules look at; ``targetingKey`` says who is asked about.
        """
        try:
            answer = self.flag_details(key, context)
        except ClientError:
            return default
        value: T = flags.value_of(answer, default)
        return value

    def flag_details(self, key: str, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return a flag's value with its variant and the reason; sent once, an error is raised at once."""
        return self.send(flags.evaluate(key, context or {}))

    def send(self, call: calls.Call[T]) -> T:
        """Send a call, again where that may help, and read the answer."""
        attempt = 1
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.request(
                    call.method, call.path, params=call.params, headers=call.headers, content=call.body or None
                )
            except httpx.TransportError as error:
                outcome = error
            if attempt >= (call.attempts or self._retry.attempts) or not may_retry(outcome, repeatable=call.repeatable):
                break
            time.sleep(self._retry.wait_seconds(attempt, outcome if isinstance(outcome, httpx.Response) else None))
            attempt += 1
        if isinstance(outcome, httpx.TransportError):
            raise Unreachable(str(self._http.base_url), outcome) from outcome
        return call.read(outcome)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
