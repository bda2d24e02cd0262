"""What services ask of control: which environments there are, their snapshots; and what they report back."""

from __future__ import annotations

import functools
import hmac
import json
import uuid
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from headwater.control import configuration
from headwater.control.access.models import ApiKey
from headwater.control.access.places import note_uses
from headwater.control.kit.problems import problem_response
from headwater.control.orgs.models import Environment
from headwater.control.snapshots.models import Snapshot, SnapshotAck
from headwater.control.snapshots.watch import watch
from headwater.core.errors import HeadwaterError
from headwater.core.sealed_snapshot import SignedSnapshot

LONGEST_WAIT_SECONDS: Final = 25.0
_MOST_USES: Final = 10_000
_CLOCKS_APART: Final = timedelta(minutes=1)
View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]


def for_nodes(method: str) -> Callable[[View], View]:
    """Answer ``method`` for callers that hold this installation's node token; problems become replies."""

    def wrap(view: View) -> View:
        @functools.wraps(view)
        async def guarded(request: HttpRequest, **parameters: Any) -> HttpResponseBase:
            try:
                _require_method(request, method)
                _require_token(request)
                return await view(request, **parameters)
            except HeadwaterError as error:
                return problem_response(error, request)

        return csrf_exempt(guarded)

    return wrap


@for_nodes("GET")
async def list_snapshots(_request: HttpRequest) -> JsonResponse:
    """Return the newest snapshot's number and digest of every environment."""
    newest: dict[uuid.UUID, Snapshot] = {}
    async for row in (
        Snapshot.unscoped.order_by("environment_id", "number").defer("payload").select_related("environment")
    ):
        newest[row.environment_id] = row
    return JsonResponse(
        {
            "environments": [
                {"id": row.environment.public_id, "number": row.number, "sha256": row.sha256} for row in newest.values()
            ]
        }
    )


@for_nodes("GET")
async def get_snapshot(request: HttpRequest, environment_id: str) -> HttpResponse:
    """Return the newest signed snapshot, or 304 when ``If-None-Match`` names it still after ``wait`` seconds."""
    wait = _wait_seconds(request)
    key = Environment.parse_id(environment_id)
    known = request.headers.get("If-None-Match", "")
    newest = await _newest(key)
    if newest is not None and known == f'"{newest.sha256}"' and wait:
        # Many may wait, and each would keep a connection to the database meanwhile.
        await sync_to_async(connections.close_all)()
        await watch().wait_beyond(key, newest.number, seconds=wait)
        newest = await _newest(key)
    if newest is None:
        raise HeadwaterError("not_found", f"there is no snapshot of {environment_id}")
    signed = SignedSnapshot(payload=newest.payload, sha256=newest.sha256, signature=newest.signature)
    if known == signed.etag:
        return HttpResponse(status=304, headers={"ETag": signed.etag})
    return HttpResponse(signed.to_bytes(), content_type="application/json", headers={"ETag": signed.etag})


@for_nodes("POST")
async def acknowledge(request: HttpRequest) -> HttpResponse:
    """Note which snapshot a node runs, or why it refused it."""
    body = _read_ack(request)
    environment = await Environment.unscoped.filter(pk=Environment.parse_id(body["environment"])).afirst()
    if environment is None:
        raise HeadwaterError("not_found", f"there is no environment {body['environment']}")
    await SnapshotAck.objects.aupdate_or_create(
        node=body["node"],
        environment=environment,
        defaults={
            "number": body["number"],
            "error": body["error"] or "",
            "applied_at": body["applied_at"],
            "heard_at": timezone.now(),
        },
    )
    return HttpResponse(status=204)


@for_nodes("POST")
async def note_key_uses(request: HttpRequest) -> HttpResponse:
    """Note when keys were last used on a node. Keys that are gone are left out."""
    try:
        body = json.loads(request.body)
        listed = [(ApiKey.parse_id(str(item["key"])), _aware(item["at"])) for item in body["uses"][:_MOST_USES]]
    except (ValueError, TypeError, KeyError, HeadwaterError) as error:
        raise HeadwaterError(
            "malformed_body", f"not a list of uses: {error}", hint='send {"uses": [{"key", "at"}]}'
        ) from error
    latest = timezone.now() + _CLOCKS_APART
    await sync_to_async(note_uses)({key: min(at, latest) for key, at in listed})
    return HttpResponse(status=204)


async def _newest(environment_id: uuid.UUID) -> Snapshot | None:
    found: Snapshot | None = await Snapshot.unscoped.filter(environment_id=environment_id).order_by("-number").afirst()
    return found


def _wait_seconds(request: HttpRequest) -> float:
    text = request.GET.get("wait", "0")
    try:
        wait = float(text)
    except ValueError:
        wait = -1.0
    if not 0 <= wait <= LONGEST_WAIT_SECONDS:
        raise HeadwaterError("invalid_parameter", f"wait={text[:20]!r}: seconds from 0 to {LONGEST_WAIT_SECONDS:g}")
    return wait


def _read_ack(request: HttpRequest) -> dict[str, Any]:
    """Return the body of an acknowledgement, its members checked."""
    try:
        body = json.loads(request.body)
        return {
            "node": str(body["node"])[:200],
            "environment": str(body["environment"]),
            "number": int(body["number"]),
            "error": body.get("error") and str(body["error"])[:10_000],
            "applied_at": _aware(body["applied_at"]),
        }
    except (ValueError, TypeError, KeyError) as error:
        raise HeadwaterError(
            "malformed_body",
            f"not an acknowledgement: {error}",
            hint='send {"node", "environment", "number", "error", "applied_at"}',
        ) from error


def _aware(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("applied_at has no offset")
    return at


def _require_method(request: HttpRequest, method: str) -> None:
    if request.method != method:
        raise HeadwaterError("method_not_allowed", f"this address answers {method}")


def _require_token(request: HttpRequest) -> None:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    try:
        token = configuration.home().node_token.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = ""
    if not token or not hmac.compare_digest(given.encode(), token.encode()):
        raise HeadwaterError("unauthenticated", "the node token is missing or wrong")
