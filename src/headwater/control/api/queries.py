"""What the queries of an environment cost: by endpoint and one by one, from its query log."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from headwater.control.access.authority import Scope
from headwater.control.api.auth import caller_of
from headwater.control.catalog.data_plane import connect

router = Router(tags=["Queries"])
SLOW = "/{org}/projects/{project}/environments/{environment}/queries/slow"


class EndpointCostOut(Schema):
    """What one endpoint, dataset or kind of query cost in a day."""

    kind: str = Field(examples=["endpoint"])
    name: str | None
    answers: int
    callers: int
    total_ms: float
    mean_ms: float
    p95_query_ms: float | None = Field(description="Of those that ran")
    cached: float = Field(description="The share that no query had to run for")
    accelerated: int
    failed: int
    bytes_scanned: int
    bytes_out: int


class SlowQueryOut(Schema):
    """One answer that took long."""

    kind: str
    name: str | None
    principal_label: str
    parameters: str | None
    policy: str | None
    source: str | None
    status: int
    code: str | None
    rows: int | None
    bytes_out: int
    bytes_scanned: int
    queue_ms: float
    query_ms: float
    total_ms: float
    answered_at: datetime


class SlowQueriesOut(Schema):
    """A day of queries: what took most time first."""

    day: date
    endpoints: list[EndpointCostOut]
    slowest: list[SlowQueryOut]


@router.get(SLOW, response=SlowQueriesOut)
def slow_queries(
    request: HttpRequest, org: str, project: str, environment: str, day: Annotated[date | None, Query()] = None
) -> SlowQueriesOut:
    """Show the endpoints that took most time in a day (UTC; default today) and the slowest single queries."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("audit.read", Scope(home.org_id, home.project_id, home.pk, ""))
    with connect() as services:
        return SlowQueriesOut.model_validate(services.query_report(home.public_id, day))
