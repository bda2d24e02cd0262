"""The console's pages about overrides: what is in force, what waits for a second person, asking for one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.console.forms import ConsoleForm, perform, submit
from headwater.control.console.pages import FORM, Entry, page
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset
from headwater.control.overrides.actions import approve_override, reject_override, request_override, revoke_override
from headwater.control.overrides.models import Override
from headwater.control.registry.models import Model
from headwater.core.errors import HeadwaterError

_VERBS: Final = {"approve": approve_override, "reject": reject_override, "revoke": revoke_override}
_DONE: Final = {
    "approve": "Approved. It is served within a second.",
    "reject": "Rejected.",
    "revoke": "Ended. Answers are the model's own again within a second.",
}


class OverrideForm(ConsoleForm):
    """An override to be asked for."""

    model = forms.ChoiceField()
    output = forms.CharField(max_length=200, help_text="Which of the model's outputs.")
    value = forms.CharField(max_length=1_000, help_text="What it is to be: a number, true, false or a text.")
    where = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), label="For rows with",
        help_text="One input a line, such as carrier=UA. All of them must be equal.",
    )  # fmt: skip
    hours = forms.FloatField(min_value=0.1, max_value=24 * 366, initial=24, label="For how many hours")
    reason = forms.CharField(max_length=500, help_text="Callers of the model read it in the answer.")

    def __init__(self, *args: Any, names: list[str], **kwargs: Any) -> None:
        """Offer the models of the project."""
        super().__init__(*args, **kwargs)
        self.fields["model"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]


@page(
    "overrides/", name="overrides", permission="override.read", entry=Entry("Overrides", "lock", "Decisions", order=20)
)
def overrides(request: HttpRequest, here: Place) -> HttpResponse:
    """List overrides: what waits for a second person first, then the newest."""
    rows = Override.objects.for_org(here.org).filter(environment=here.env)
    waiting = list(rows.filter(state="requested", valid_until__gt=timezone.now()).order_by("id")[:50])
    table = keyset(rows.exclude(state="requested"), request, by="created_at", descending=True)
    return here.render(
        "console/pages/overrides/list.html", title="Overrides", waiting=waiting, table=table,
        may_approve=here.may("override.approve"), may_write=here.may("override.write"),
        lead="Answers of models that people replaced for a while. One asks, another approves, the clock ends it.",
        toolbar="console/pages/overrides/toolbar.html",
    )  # fmt: skip


@page("overrides/new/", name="override-new", permission="override.write", section="overrides", methods=FORM)
def new(request: HttpRequest, here: Place) -> HttpResponse:
    """Ask for an override."""
    names = list(Model.objects.for_org(here.org).filter(project=here.project).values_list("name", flat=True))
    form = OverrideForm(request.POST or None, names=names)

    def run(values: dict[str, Any]) -> str:
        request_override(
            actor=here.actor, environment=here.env, target=values["model"], output=values["output"],
            key=_pairs(values["where"]), value=_plain(values["value"]), reason=values["reason"],
            valid_until=timezone.now() + timedelta(hours=values["hours"]),
        )  # fmt: skip
        return "Asked for. Somebody else has to approve it."

    reply = submit(request, form, run, back=here.url("overrides")) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/overrides/new.html", title="Ask for an override", form=form, names=names,
        back=here.url("overrides"), back_title="Overrides",
    )  # fmt: skip


@page(
    "overrides/<str:override>/<slug:verb>/", name="override-decide", permission="override.read", section="overrides",
    methods=("POST",),
)  # fmt: skip
def decide(request: HttpRequest, here: Place, override: str, verb: str) -> HttpResponse:
    """Approve, reject or revoke an override."""
    try:
        pk = Override.parse_id(override)
    except HeadwaterError as error:
        raise Http404 from error
    rows = Override.objects.for_org(here.org).filter(environment=here.env, pk=pk)
    row = rows.select_related("environment__project").first()
    act = _VERBS.get(verb)
    if row is None or act is None:
        raise Http404

    def run(values: dict[str, Any]) -> str:
        act(actor=here.actor, override=row, reason=values["reason"])
        return _DONE[verb]

    return perform(request, run, back=here.url("overrides"))


def _pairs(text: str) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals:
            raise HeadwaterError("invalid_parameter", f"{line[:80]!r} is not name=value")
        pairs[name.strip()] = _plain(value.strip())
    return pairs


def _plain(text: str) -> Any:
    """Return a number or a boolean where the text is one, else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text
