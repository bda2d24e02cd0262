"""Dashboards carried away: a picture or drawing of the whole or of one chart, and the file that declares one."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.http import content_disposition_header

from headwater.control.console.boards.answers import TileAnswer, ask_tile
from headwater.control.console.boards.poster import draw_board, draw_chart
from headwater.control.console.boards.theme import THEMES, Theme
from headwater.control.console.pages import page
from headwater.control.console.pages.dashboard_data import find_tile
from headwater.control.console.place import Place
from headwater.control.dashboards.document import write_dashboard
from headwater.control.dashboards.queries import find_dashboard, newest_revision
from headwater.control.monitoring.drawing import RENDERER
from headwater.core.dashboards import Board, ChartTile, DataTile
from headwater.core.dashboards.binding import chosen
from headwater.core.errors import HeadwaterError
from headwater.engines.charts.renderer import ChartFailed

_TYPES: Final = {"png": "image/png", "svg": "image/svg+xml"}


@page(
    "dashboards/<slug:name>/image.<slug:form>",
    name="dashboard-image",
    permission="dashboard.read",
    section="dashboards",
)
def board_image(request: HttpRequest, here: Place, name: str, form: str) -> HttpResponse:
    """Answer with the whole dashboard as an image, with the data that the reader may see."""
    row = find_dashboard(here.env, name)
    here.need("dashboard.read", row)
    board = newest_revision(row).board
    given = request.GET.dict()
    chosen(board, given)
    answers: dict[str, TileAnswer] = {
        tile.name: ask_tile(here, board, tile, given) for tile in board.tiles if isinstance(tile, DataTile)
    }
    return _image(draw_board(board, answers, _theme(request), _subtitle(board, given)), form, name)


@page(
    "dashboards/<slug:name>/tiles/<slug:tile>/image.<slug:form>", name="dashboard-tile-image",
    permission="dashboard.read", section="dashboards",
)  # fmt: skip
def tile_image(request: HttpRequest, here: Place, name: str, tile: str, form: str) -> HttpResponse:
    """Answer with one chart as an image."""
    board, found = find_tile(here, name, tile)
    if not isinstance(found, ChartTile):
        raise Http404
    answer = ask_tile(here, board, found, request.GET.dict())
    if answer.state != "ok" or not answer.rows:
        code = "forbidden" if answer.state == "forbidden" else "services_unavailable" if answer.state == "away" else ""
        raise HeadwaterError(
            code or "invalid_parameter", answer.problem or "there are no rows to draw", hint=answer.hint
        )
    try:
        drawing = draw_chart(answer, found.title or found.name, _theme(request))
    except ChartFailed as error:
        raise _not_drawn(error) from error
    return _image(drawing, form, f"{name}-{tile}")


@page("dashboards/<slug:name>/file.yaml", name="dashboard-file", permission="dashboard.read", section="dashboards")
def board_file(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Answer with the file that declares the dashboard in a project directory."""
    row = find_dashboard(here.env, name)
    here.need("dashboard.read", row)
    response = HttpResponse(write_dashboard(newest_revision(row).board), content_type="application/yaml; charset=utf-8")
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=f"{name}.yaml")
    return response


def _image(drawing: str, form: str, name: str) -> HttpResponse:
    if form not in _TYPES:
        raise Http404
    try:
        content = RENDERER.rasterize(drawing) if form == "png" else drawing.encode()
    except ChartFailed as error:
        raise _not_drawn(error) from error
    response = HttpResponse(content, content_type=_TYPES[form], status=HTTPStatus.OK)
    response["Content-Disposition"] = content_disposition_header(as_attachment=True, filename=f"{name}.{form}")
    return response


def _not_drawn(error: ChartFailed) -> HeadwaterError:
    return HeadwaterError("services_unavailable", f"the image cannot be drawn: {error}", hint="try again in a moment")


def _theme(request: HttpRequest) -> Theme:
    """Return the theme asked for by ``?theme=``, else the one that the reader chose for the console."""
    named = request.GET.get("theme") or request.COOKIES.get("hw_theme", "")
    return THEMES.get(named, THEMES["light"])


def _subtitle(board: Board, given: dict[str, str]) -> str:
    values = chosen(board, given)
    said = [f"{item.title}: {values[item.name]}" for item in board.filters if item.name in values]
    return " · ".join([*said, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"])
