"""Services as control sees them: a local HTTP server that answers ``/internal/v1`` and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from headwater.control import configuration

NOW = (datetime.now(UTC) - timedelta(minutes=3)).isoformat()
JOB = "job_01JD0000000000000000000000"
COUNTS = {"received": 1_000, "accepted": 985, "duplicate": 10, "stale": 0, "quarantined": 4, "rejected": 1}


@dataclass
class FakeServices:
    """What the server answers; tests change it as they go."""

    url: str = ""
    datasets: list[dict[str, Any]] = field(default_factory=list)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    qualities: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    quality_asked: list[dict[str, list[str]]] = field(default_factory=list)
    reports: dict[tuple[str, str, int], Any] = field(default_factory=dict)
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    view: dict[str, Any] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    queries: dict[str, Any] | None = None
    viewings: list[dict[str, Any]] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    refusal: tuple[int, dict[str, Any]] | None = None
    unresolved: int = 0
    tokens: set[str] = field(default_factory=set)

    def fill(self, dataset: str = "flights") -> None:
        """Hold one dataset with rows, receipts and a quarantine group."""
        self.datasets = [
            {
                "name": dataset, "counts": COUNTS, "unsealed_rows": 12, "table_version": 7, "rows": 973,
                "last_received_at": NOW,
            }
        ]  # fmt: skip
        self.receipts = [
            {
                "receipt": f"rcp_{n:026}", "received_at": NOW, "principal_id": "sa_1",
                "counts": COUNTS, "state": "committed" if n else "durable", "table_version": 7,
            }
            for n in range(3)
        ]  # fmt: skip
        self.groups = [quarantine_group(dataset)]
        self.jobs = [batch_job(dataset)]

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and body."""
        if self.refusal and method == "POST":
            return self.refusal
        parts = path.removeprefix("/internal/v1/").split("/")
        if parts[0] == "viewing" and parts[2] == "jobs":
            return self._job(parts[3:], body)
        if parts[0] == "viewing":
            self.viewings.append({"path": "/".join(parts[2:]), **body})
            return 200, self.view
        found = self._find(parts, query, body)
        return (200, found) if found is not None else (404, {"code": "not_found", "detail": path})

    def _job(self, parts: list[str], body: dict[str, Any]) -> tuple[int, Any]:
        self.viewings.append({"path": "/".join(("jobs", *parts)), **body})
        if not parts:
            return 200, {"jobs": self.jobs}
        found = next((job for job in self.jobs if job["job"] == parts[0]), None)
        if found is None:
            return 404, {"code": "job_not_found", "detail": f"there is no job {parts[0]!r}"}
        if parts[1:] == ["cancel"]:
            found["cancelling"] = True
        return 200, found

    def _find(  # noqa: C901, PLR0911 - one for each address
        self, parts: list[str], query: dict[str, list[str]], body: dict[str, Any]
    ) -> dict[str, Any] | None:
        match parts:
            case ["status"]:
                return {"node": "node-1", "environments": [], "problems": self.problems}
            case ["datasets", _]:
                return {"datasets": self.datasets}
            case ["ledger", _]:
                return {"rows": self.ledger, "balanced": True}
            case ["datasets", _, _, "receipts"]:
                return {"receipts": self.receipts}
            case ["models", environment, "health"] if environment in self.models:
                return {"models": self.models[environment]}
            case ["models", environment, model, version, "report"]:
                self.asked.append(query)
                found: dict[str, Any] | None = self.reports.get((environment, model, int(version)))
                return found
            case ["models", environment, model, version, "quality"]:
                self.quality_asked.append(query)
                known: dict[str, Any] | None = self.qualities.get((environment, model, int(version)))
                return known
            case ["quarantine", _, "groups"]:
                wanted = query.get("dataset", [""])[0]
                return {"groups": [group for group in self.groups if wanted in ("", group["dataset"])]}
            case ["quarantine", environment, dataset, ("replay" | "discard") as verdict]:
                self.verdicts.append({"environment": environment, "dataset": dataset, "verdict": verdict, **body})
                rows = sum(group["open"] for group in self.groups if group["fingerprint"] == body["fingerprint"])
                self.groups = [group | {"open": self.unresolved} for group in self.groups]
                return {"received": rows, "accepted": rows, "duplicate": 0, "quarantined": 0, "rejected": 0}
            case ["queries", _, "report"]:
                self.asked.append(query)
                return self.queries
            case _:
                return None


def query_report() -> dict[str, Any]:
    """Return a day with one endpoint and one slow query by somebody with a hostile name."""
    both = {"kind": "endpoint", "name": "daily", "bytes_out": 900, "bytes_scanned": 5_000_000}
    return {
        "day": NOW[:10],
        "endpoints": [
            both | {
                "answers": 1_000, "callers": 2, "total_ms": 5_400.0, "mean_ms": 5.4, "p95_query_ms": 41.5,
                "cached": 0.9, "accelerated": 40, "failed": 3,
            },
        ],
        "slowest": [
            both | {
                "principal_label": "<script>alert(1)</script>", "parameters": "0f0f", "policy": None,
                "source": "parquet", "status": 200, "code": None, "rows": 12, "queue_ms": 1.0, "query_ms": 810.2,
                "total_ms": 812.3, "answered_at": NOW,
            },
        ],
    }  # fmt: skip


def quarantine_group(dataset: str = "flights", **more: Any) -> dict[str, Any]:
    """Return a group of four rows with a hostile sample."""
    return {
        "fingerprint": "0f" * 8,
        "dataset": dataset,
        "contract_version": "1.0.0",
        "code": "out_of_range",
        "path": "/delay",
        "count": 4,
        "open": 4,
        "first_at": NOW,
        "last_at": NOW,
        "samples": [
            {
                "quarantine_id": "q_01JD0000000000000000000000",
                "received_at": NOW,
                "raw": '{"carrier": "<script>alert(1)</script>", "delay": -99999}',
                "errors": [
                    {
                        "code": "out_of_range", "path": "/delay", "message": "the number is out of range",
                        "expected": {"ge": -200}, "actual": "-99999",
                    }
                ],
            },
            {
                "quarantine_id": "q_01JD0000000000000000000001",
                "received_at": NOW,
                "raw": '{"carrier": "UA", "delay": "late"}',
                "errors": [{"code": "type_mismatch", "path": "/delay", "message": "the value has another type"}],
            },
        ],
    } | more  # fmt: skip


def batch_job(dataset: str = "flights", **more: Any) -> dict[str, Any]:
    """Return a job that is half done."""
    return {
        "job": JOB, "kind": "batch_score", "state": "running", "model": "delay", "version": 1, "dataset": dataset,
        "dataset_version": 7, "output": "batch_predictions_delay", "output_version": None,
        "progress": {"done": 500, "total": 1_000}, "counts": {"scored": 480, "failed": 20, "skipped": 0},
        "attempts": 0, "cancelling": False, "error": None, "created_at": NOW, "started_at": NOW, "finished_at": None,
        "retry_at": None,
    } | more  # fmt: skip


@contextmanager
def fake_services() -> Iterator[FakeServices]:
    """Serve on a free port until the block ends."""
    services = FakeServices()

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            url = urlsplit(self.path)
            services.tokens.add(self.headers.get("Authorization", ""))
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            status, reply = services.answer(self.command, url.path, parse_qs(url.query), body)
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = respond  # noqa: N815 - the names that http.server asks for

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    services.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield services
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServices]:
    """Serve fakes where control looks for the services."""
    settings = configuration.current()
    with fake_services() as fake:
        reached = settings.services.model_copy(update={"url": fake.url})
        monkeypatch.setattr(configuration, "_given", settings.model_copy(update={"services": reached}))
        yield fake


@pytest.fixture
def no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let control look for services where nothing listens."""
    settings = configuration.current()
    nowhere = settings.services.model_copy(update={"url": "http://127.0.0.1:9"})
    monkeypatch.setattr(configuration, "_given", settings.model_copy(update={"services": nowhere}))
