"""What this process counts, in Prometheus' text format."""

from __future__ import annotations

from typing import Final

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from headwater.control.kit.models import Outbox

REQUESTS: Final = Counter("headwater_control_requests_total", "Requests answered.", ["method", "status"])
SECONDS: Final = Histogram("headwater_control_request_seconds", "How long answers took, long polls left out.")
WAITING: Final = Gauge("headwater_control_outbox_waiting_events", "Events that wait to be published.")


async def metrics(_request: HttpRequest) -> HttpResponse:
    """Answer with every metric of this process."""
    WAITING.set(await sync_to_async(Outbox.objects.filter(published_at=None).count)())
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)
