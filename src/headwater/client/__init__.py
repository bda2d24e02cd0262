"""The Python SDK; depends on nothing else of ours.

from headwater.client import Client

with Client() as client:
    client.ingest("flights", [{"carrier": "UA", "flight": 1545}])
    client.query("delay_by_carrier", {"carrier": "UA"}).rows
"""

from headwater.client.aio import AsyncClient
from headwater.client.errors import ApiError, ClientError, Unreachable
from headwater.client.registry import Registry
from headwater.client.results import (
    Counts,
    IngestReply,
    IngestSummary,
    OutcomeReply,
    Prediction,
    PredictReply,
    QueryResult,
)
from headwater.client.retry import RetryPolicy
from headwater.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "Counts",
    "IngestReply",
    "IngestSummary",
    "OutcomeReply",
    "PredictReply",
    "Prediction",
    "QueryResult",
    "Registry",
    "RetryPolicy",
    "Unreachable",
]
