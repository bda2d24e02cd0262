"""What the tiles of dashboards ask for: their data, tickets for live ones, files of their rows, the charts' script."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.http import content_disposition_header

from headwater.control.catalog.data_plane import connect
from headwater.control.catalog.views import ViewAsked
from headwater.control.console.boards.answers import TileAnswer, ask_tile, bound, lacks, refusal_of
from headwater.control.console.boards.bundle import bundle, bundle_name
from headwater.control.console.pages import page
from headwater.control.console.place import Place
from headwater.control.console.snippets import services_url
from headwater.control.console.viewer import viewer_of
from headwater.control.dashboards.queries import find_dashboard, newest_revision
from headwater.core.dashboards import Board, DataTile
from headwater.core.errors import HeadwaterError

FILES: Final = {
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
FILE_BYTES: Final = 64 << 20


def chart_script(request: HttpRequest, name: str) -> HttpResponse:  # noqa: ARG001 - Django gives it
    """Answer with the charts' JavaScript, for ever the same at its address."""
    if name != bundle_name():
        raise Http404
    content = bundle()
    response = HttpResponse(content, content_type="text/javascript; charset=utf-8")
    response["Content-Encoding"] = "gzip"
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response


@page(
    "dashboards/<slug:name>/tiles/<slug:tile>/",
    name="dashboard-tile",
    permission="dashboard.read",
    section="dashboards",
)
def tile_data(request: HttpRequest, here: Place, name: str, tile: str) -> HttpResponse:
    """Answer with a tile's data as the reader may see them; 304 where the reader has them already."""
    board, found = find_tile(here, name, tile)
    answer = ask_tile(here, board, found, request.GET.dict(), etag=request.headers.get("If-None-Match", "")[:500])
    return tile_reply(found, answer)


@page(
    "dashboards/<slug:name>/tiles/<slug:tile>/live/", name="dashboard-live", permission="dashboard.read",
    section="dashboards",
)  # fmt: skip
def tile_live(request: HttpRequest, here: Place, name: str, tile: str) -> HttpResponse:
    """Answer with the address of the stream of a live tile, good for this reader and for a few minutes."""
    board, found = find_tile(here, name, tile)
    lacking = lacks(here, found)
    if lacking is not None:
        return JsonResponse(lacking.to_plain())
    try:
        parameters = bound(here, board, found, request.GET.dict())
        with connect() as services:
            path = services.live_ticket(here.env.public_id, found.endpoint, viewer_of(here), parameters)
    except HeadwaterError as error:
        return JsonResponse(refusal_of(error).to_plain())
    return JsonResponse({"state": "ok", "url": f"{services_url()}{path}"})


@page(
    "dashboards/<slug:name>/tiles/<slug:tile>/rows.<slug:form>", name="dashboard-rows", permission="dashboard.read",
    section="dashboards",
)  # fmt: skip
def tile_rows(request: HttpRequest, here: Place, name: str, tile: str, form: str) -> HttpResponse:
    """Answer with all rows of a tile as a file."""
    if form not in FILES:
        raise Http404
    board, found = find_tile(here, name, tile)
    here.need("endpoint.invoke", f"endpoint:{found.endpoint_name}")
    asked = ViewAsked(bound(here, board, found, request.GET.dict()), accept=FILES[form], max_bytes=FILE_BYTES)
    with connect() as services:
        viewed = services.view_file(here.env.public_id, f"endpoints/{found.endpoint}", viewer_of(here), asked)
    response = HttpResponse(viewed.content, content_type=viewed.media_type)
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=f"{name}-{tile}.{form}")
    return response


def find_tile(here: Place, name: str, tile: str) -> tuple[Board, DataTile]:
    """Return a dashboard that the reader may see and one of its tiles with data; 404 where there is none."""
    row = find_dashboard(here.env, name)
    here.need("dashboard.read", row)
    board = newest_revision(row).board
    found = board.tile(tile)
    if not isinstance(found, DataTile):
        raise Http404
    return board, found


def tile_reply(tile: DataTile, answer: TileAnswer) -> HttpResponse:
    """Return an answer with what the page needs to know of its tile."""
    if answer.is_known:
        response = HttpResponse(status=HTTPStatus.NOT_MODIFIED)
    else:
        shown = tile.model_dump(mode="json", exclude={"parameters", "vega", "plot"})
        content = json.dumps({"tile": shown, **answer.to_plain()}, allow_nan=False, separators=(",", ":"))
        response = HttpResponse(content, content_type="application/json")
    if answer.etag:
        response["ETag"] = answer.etag
    return response
