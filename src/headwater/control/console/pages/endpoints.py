"""SQL endpoints: what they answer, what they take, and trying them."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.catalog.endpoint_versions import by_version, leading_version
from headwater.control.catalog.models import Endpoint, EndpointRevision
from headwater.control.console.forms import ConsoleForm
from headwater.control.console.lineage import dataset_pages
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.snippets import query_snippets
from headwater.control.console.tables import keyset
from headwater.control.console.viewer import Rows, ask_endpoint

_KINDS: Final = {"integer": "number", "date": "date"}
_EXAMPLES: Final = {"integer": 1, "number": 1.5, "decimal": "1.50", "boolean": "true", "date": "2026-01-31"}


@page(
    "endpoints/", name="endpoints", permission="endpoint.read", entry=Entry("Endpoints", "endpoint", "Data", order=20)
)
def endpoints(request: HttpRequest, here: Place) -> HttpResponse:
    """List the endpoints of the environment."""
    rows = Endpoint.objects.for_org(here.org).filter(environment=here.env, archived_at=None)
    if not here.holds("endpoint.read"):
        rows = rows.filter(name__in=here.named("endpoint.read"))
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(description__icontains=q))
    table = keyset(rows, request, by="name")
    return here.render(
        "console/pages/endpoints/list.html", title="Endpoints", table=table, q=q,
        lines=[(row, newest) for row, newest in _with_newest(here, table.rows)],
        lead="Typed answers from SQL, called with a key.",
    )  # fmt: skip


@page("endpoints/<slug:name>/", name="endpoint", permission="endpoint.read", section="endpoints")
def endpoint(request: HttpRequest, here: Place, name: str) -> HttpResponse:
    """Show an endpoint: parameters, SQL, snippets, and a form to try it with."""
    row = Endpoint.objects.for_org(here.org).filter(environment=here.env, name=name).first()
    if row is None:
        raise Http404
    here.need("endpoint.read", row.grant_resource)
    revisions = list(EndpointRevision.objects.for_org(here.org).filter(endpoint=row).order_by("-number")[:10])
    versions = by_version(EndpointRevision.objects.for_org(here.org).filter(endpoint=row).order_by("number"))
    known = versions.get(row.name, {})
    newest = known[leading_version(known)] if known else None
    parameters = newest.spec.get("parameters", []) if newest else []
    asked = "try" in request.GET
    form = TryForm(parameters, request.GET if asked else None)
    may_try = here.may("endpoint.invoke", row.grant_resource)
    answer: Rows | None = None
    if asked and may_try and form.is_valid():
        answer = ask_endpoint(here, row.name, form.given)
    examples = {item["name"]: _example(item) for item in parameters if item.get("required")}
    return here.render(
        "console/pages/endpoints/detail.html", title=row.name, lead=row.description, endpoint=row, newest=newest,
        revisions=revisions, parameters=parameters, form=form, answer=answer, may_try=may_try, back_title="Endpoints",
        back=here.url("endpoints"), snippets=query_snippets(row.name, examples), tables=_tables(here, newest),
        badge="archived" if row.archived_at else "", columns=_columns(newest),
        versions=[known[number] for number in sorted(known, reverse=True)],
    )  # fmt: skip


class TryForm(ConsoleForm):
    """A field for each parameter; what they may be is said and checked by the data plane alone."""

    def __init__(self, parameters: list[dict[str, Any]], data: Any = None) -> None:
        """Make the fields of ``parameters``, specs as the endpoint's revision holds them."""
        super().__init__(data, prefix="p", use_required_attribute=False)
        for item in parameters:
            self.fields[item["name"]] = _field(item)

    @property
    def given(self) -> dict[str, str]:
        """Return the parameters that were filled in."""
        return {name: str(value) for name, value in self.cleaned_data.items() if value not in ("", None)}


def _field(item: dict[str, Any]) -> forms.CharField | forms.ChoiceField:
    default = item.get("default")
    note = f"{item['type']}{'' if item.get('required') else ', optional'}"
    note += f", default {default}" if default is not None else ""
    text = f"{item['description']} ({note})" if item.get("description") else f"{note[:1].upper()}{note[1:]}."
    common: dict[str, Any] = {"label": item["name"], "required": bool(item.get("required")), "help_text": text}
    choices = item.get("values") or (["true", "false"] if item["type"] == "boolean" else [])
    if choices:
        return forms.ChoiceField(choices=[("", "choose"), *((value, value) for value in choices)], **common)
    widget = forms.TextInput(attrs={"type": _KINDS.get(item["type"], "text"), "autocomplete": "off"})
    return forms.CharField(max_length=2_000, widget=widget, **common)


def _example(item: dict[str, Any]) -> Any:
    values = item.get("values")
    return values[0] if values else _EXAMPLES.get(item["type"], "…")


def _columns(newest: EndpointRevision | None) -> list[tuple[str, str, list[str]]]:
    """Return the columns of its result: name, type, and the columns of datasets that the values come from."""
    spec = newest.spec if newest else {}
    origins = spec.get("origins", {})
    return [
        (one["name"], one["type"], [f"{item['table']}.{item['column']}" for item in origins.get(one["name"], ())])
        for one in spec.get("columns", ())
    ]


def _tables(here: Place, newest: EndpointRevision | None) -> list[tuple[str, str]]:
    """Return the datasets it reads, with the address of those that the reader may see."""
    names = newest.spec.get("tables", []) if newest else []
    pages = dataset_pages(here, names)
    return [(name, pages.get(name, "")) for name in names]


def _with_newest(here: Place, rows: list[Any]) -> list[tuple[Endpoint, EndpointRevision | None]]:
    """Return the endpoints with the newest revision of the version that answers to the bare name."""
    revisions = EndpointRevision.objects.for_org(here.org).filter(endpoint__in=[row.pk for row in rows])
    versions = by_version(revisions.defer("source").select_related("endpoint").order_by("number"))
    return [(row, known[leading_version(known)] if (known := versions.get(row.name)) else None) for row in rows]
