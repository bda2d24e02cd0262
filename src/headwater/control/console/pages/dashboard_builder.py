"""Making and changing dashboards: the builder, and the previews it asks for while somebody builds."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse

from headwater.control.catalog.models import Endpoint
from headwater.control.console.boards.answers import TileAnswer, ask_tile, refusal_of
from headwater.control.console.boards.bundle import bundle_name
from headwater.control.console.boards.text import to_html
from headwater.control.console.forms import ConsoleForm, submit
from headwater.control.console.pages import FORM, page
from headwater.control.console.pages.dashboard_data import tile_reply
from headwater.control.console.place import Place
from headwater.control.dashboards.actions import create_dashboard, save_dashboard
from headwater.control.dashboards.models import DASHBOARD_NAME, Dashboard
from headwater.control.dashboards.queries import find_dashboard, newest_revision, shapes_of
from headwater.core.dashboards import Board, DataTile, parse_board
from headwater.core.dashboards.plot import kind_of
from headwater.core.dashboards.reading import MAX_BYTES
from headwater.core.dashboards.spec import MAX_NAME
from headwater.core.errors import HeadwaterError

EMPTY: Final[dict[str, Any]] = {"title": "", "filters": [], "tiles": []}
REFRESHES: Final = (
    (0, "when somebody looks"), (30, "every 30 seconds"), (60, "every minute"), (300, "every 5 minutes"),
    (900, "every 15 minutes"), (3_600, "every hour"),
)  # fmt: skip
_PREVIEW_TILE: Final = re.compile(r"tiles\[0\] \([^)]*\)\.?")


class BuilderForm(ConsoleForm):
    """What the builder sends: the whole dashboard as JSON, why, and which revision it was built on."""

    spec = forms.CharField(widget=forms.HiddenInput, max_length=2 * MAX_BYTES)
    revision = forms.IntegerField(widget=forms.HiddenInput, required=False)
    note = forms.CharField(
        max_length=500, required=False, label="What changed", help_text="Kept with the revision.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "placeholder": "such as: cancelled flights added"}),
    )  # fmt: skip

    def clean_spec(self) -> Board:
        """Return the dashboard; every fault is an error of the form."""
        try:
            return parse_board(json.loads(self.cleaned_data["spec"]))
        except HeadwaterError as error:
            raise forms.ValidationError(faults_of(error)) from error
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"What was sent is no JSON: {error}.") from error


class NewForm(BuilderForm):
    """As ``BuilderForm``, with the name of a dashboard that does not exist yet."""

    name = forms.CharField(
        max_length=MAX_NAME, validators=[DASHBOARD_NAME], label="Name in addresses",
        help_text="Small letters, digits and hyphens. It stays when the title changes.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "data-name": ""}),
    )  # fmt: skip
    field_order = ("name", "note")


@page("dashboards/new/", name="dashboard-new", permission="dashboard.write", section="dashboards", methods=FORM)
def new_dashboard(request: HttpRequest, here: Place) -> HttpResponse:
    """Build a dashboard from nothing."""
    form = NewForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> str:
        create_dashboard(
            actor=here.actor, environment=here.env, name=values["name"], board=values["spec"], note=values["note"]
        )
        return f"{values['spec'].title} is made."

    if request.method == "POST" and form.is_valid():
        reply = _submit(request, form, run, back=here.url("dashboard", form.cleaned_data["name"]))
        if reply is not None:
            return reply
    return _builder(request, here, form, EMPTY, title="New dashboard", back=here.url("dashboards"))


@page(
    "dashboards/<slug:name>/edit/", name="dashboard-edit", permission="dashboard.write", section="dashboards",
    methods=FORM,
)  # fmt: skip
def edit_dashboard(request: HttpRequest, here: Place, name: str) -> HttpResponse:
    """Change a dashboard; it is saved as a new revision."""
    row = find_dashboard(here.env, name)
    here.need("dashboard.write", row)
    form = BuilderForm(request.POST if request.method == "POST" else None, initial={"revision": row.revision})

    def run(values: dict[str, Any]) -> str:
        _check_seen(row, values["revision"])
        save_dashboard(actor=here.actor, dashboard=row, board=values["spec"], note=values["note"])
        return f"{row.title} is saved as revision {row.number}."

    if request.method == "POST":
        reply = _submit(request, form, run, back=here.url("dashboard", name))
        if reply is not None:
            return reply
    spec = newest_revision(row).spec
    return _builder(request, here, form, spec, title=f"Edit {row.title}", back=here.url("dashboard", name), row=row)


@page(
    "dashboards/preview/", name="dashboard-preview", permission="dashboard.write", section="dashboards",
    methods=("POST",),
)  # fmt: skip
def preview(request: HttpRequest, here: Place) -> HttpResponse:
    """Answer with what a tile that is not saved would show to who builds it."""
    try:
        asked = json.loads(request.body)
        filters, tile, values = asked["filters"], asked["tile"], asked.get("values", {})
        board = parse_board({"title": "preview", "filters": filters, "tiles": [tile]})
    except (ValueError, KeyError, TypeError, RecursionError):
        return JsonResponse(TileAnswer("error", "The tile cannot be read.").to_plain())
    except HeadwaterError as error:
        problem = " ".join(_PREVIEW_TILE.sub("", text) for text in faults_of(error))
        return JsonResponse(TileAnswer("error", "This tile is not complete.", problem).to_plain())
    (only,) = board.tiles
    if not isinstance(only, DataTile):
        return JsonResponse({"state": "ok", "words": to_html(only.text, titled=True)})
    given = {str(name): str(value) for name, value in values.items()} if isinstance(values, dict) else {}
    try:
        answer = ask_tile(here, board, only, given)
    except HeadwaterError as error:
        answer = refusal_of(error)
    return tile_reply(only, answer)


def faults_of(error: HeadwaterError) -> list[str]:
    """Return everything that is wrong with a dashboard, each with its place."""
    listed = error.extra.get("errors") or [{"path": "", "message": error.detail}]
    return [f"{item['path']}: {item['message']}" if item["path"] else str(item["message"]) for item in listed]


def _submit(request: HttpRequest, form: forms.Form, run: Any, *, back: str) -> HttpResponse | None:
    """Run the action; what does not fit is listed whole, not only the first of it."""

    def listing(values: dict[str, Any]) -> Any:
        try:
            return run(values)
        except HeadwaterError as error:
            if error.code != "dashboard_invalid":
                raise
            form.add_error(None, faults_of(error))
            return HttpResponse(status=422)

    reply = submit(request, form, listing, back=back)
    return reply if form.is_valid() else None


def _check_seen(row: Dashboard, seen: int | None) -> None:
    if seen is not None and seen != row.revision:
        raise HeadwaterError(
            "conflict",
            f"{row.title} was saved by somebody else meanwhile, as revision {row.number}",
            hint="open it in another window, take over what they changed, and edit it there",
        )


def _builder(
    request: HttpRequest, here: Place, form: BuilderForm, spec: Any, *, title: str, back: str,
    row: Dashboard | None = None,
) -> HttpResponse:  # fmt: skip
    sent = _sent(request)
    return here.render(
        "console/pages/dashboards/builder.html", title=title, form=form, dashboard=row, back=back,
        back_title=row.title if row else "Dashboards", spec=json.dumps(sent or spec),
        refreshes=REFRESHES,
        catalog=json.dumps(catalog_of(here)), script=reverse("chart-script", args=[bundle_name()]),
        faults=[text for errors in (form.non_field_errors(), form["spec"].errors) for text in errors],
    )  # fmt: skip


def _sent(request: HttpRequest) -> Any:
    """Return what somebody built and could not save, so that it is not lost."""
    try:
        sent = json.loads(request.POST.get("spec", ""))
    except (ValueError, RecursionError):
        return None
    return sent if isinstance(sent, dict) else None


def catalog_of(here: Place) -> list[dict[str, Any]]:
    """Return the endpoints that the reader may see: parameters, columns where they are known, whether they may ask."""
    rows = Endpoint.objects.for_org(here.org).filter(environment=here.env, archived_at=None).order_by("name")
    shapes = shapes_of(here.env)
    return [
        {
            "name": row.name,
            "description": row.description,
            "mayAsk": here.holds("endpoint.invoke", row.name),
            "parameters": [
                {
                    "name": item.name, "type": item.type, "required": item.required, "values": list(item.values),
                    "default": item.default, "description": item.description, "list": item.is_list,
                }
                for item in shapes[row.name].parameters
            ],
            "columns": [
                {"name": name, "type": type_, "kind": kind_of(type_)} for name, type_ in shapes[row.name].columns
            ],
        }
        for row in rows
        if row.name in shapes and here.holds("endpoint.read", row.name)
    ]  # fmt: skip
