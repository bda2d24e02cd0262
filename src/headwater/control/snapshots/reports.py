"""What services tell control about flags."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from pydantic import ValidationError

from headwater.control.flags.usage import UsageReport, record_usage
from headwater.control.snapshots.views import for_nodes
from headwater.core.errors import HeadwaterError


@for_nodes("POST")
async def report_usage(request: HttpRequest) -> HttpResponse:
    """Count evaluations; a batch that comes again counts once."""
    try:
        report = UsageReport.model_validate_json(request.body)
    except ValidationError as error:
        raise HeadwaterError(
            "malformed_body", f"not a report of usage: {error.errors()[0]['msg']}",
            hint='send {"node", "batch", "environments": {id: {"bulk", "flags": {key: {variant: count}}}}}',
        ) from error  # fmt: skip
    await sync_to_async(record_usage)(report)
    return HttpResponse(status=204)
