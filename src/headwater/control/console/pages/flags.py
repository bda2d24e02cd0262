"""Feature flags: what they are here and elsewhere, their rules in words, trying them out, and changing them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse

from headwater.control.audit.models import AuditEvent
from headwater.control.console.flag_page import TryForm, rules_of, snippets_of, tried
from headwater.control.console.forms import ConsoleForm, ReasonForm, go, perform, sentence, submit
from headwater.control.console.pages import FORM, Entry, page
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset
from headwater.control.flags.actions import (
    archive_flag,
    change_config,
    config_of,
    create_flag,
    restore_flag,
    toggle_flag,
)
from headwater.control.flags.checks import check, specs_of
from headwater.control.flags.editing import changes_in, text_of
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.flags.stale import stale_flags
from headwater.control.flags.words import differences
from headwater.core.errors import HeadwaterError

_FLAG: Final = "flags/<str:key>/"
_HISTORY: Final = 20
_BOOLEAN: Final = {"on": True, "off": False}


@dataclass(frozen=True, slots=True)
class Line:
    """A flag as the list shows it: what this environment says, and which others have it on."""

    flag: Flag
    config: FlagConfig
    elsewhere: Sequence[str]

    @property
    def state(self) -> str:
        """Return the state in a word."""
        return "archived" if self.flag.archived_at else "enabled" if self.config.enabled else "off"


@page("flags/", name="flags", permission="flag.read", entry=Entry("Flags", "flag", "Decisions", order=10))
def flags(request: HttpRequest, here: Place) -> HttpResponse:
    """List the project's flags with their state here and elsewhere."""
    rows = Flag.objects.for_org(here.org).filter(project=here.project)
    rows = rows.filter(archived_at__isnull=request.GET.get("archived") != "1")
    if not here.holds("flag.read"):
        rows = rows.filter(key__in=here.named("flag.read"))
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(key__icontains=q) | Q(description__icontains=q) | Q(owner__icontains=q))
    table = keyset(rows, request, by="key")
    return here.render(
        "console/pages/flags/list.html", title="Flags", table=table, q=q, lines=_lines(here, table.rows),
        archived=request.GET.get("archived") == "1", toolbar="console/pages/flags/toolbar.html",
        may_write=here.may("flag.write", here.project),
        lead="Decisions that applications ask for, so that they change without a release.",
    )  # fmt: skip


@page("flags-stale/", name="flags-stale", permission="flag.read", section="flags")
def stale(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """List the flags that have had their day."""
    found = [item for item in stale_flags(here.env) if here.holds("flag.read", item.flag.key)]
    return here.render(
        "console/pages/flags/stale.html", title="Stale flags", found=found, back=here.url("flags"), back_title="Flags",
        lead=f"What {here.env.key} suggests to take out of the code.",
    )  # fmt: skip


class FlagForm(ConsoleForm):
    """A flag to be made."""

    key = forms.CharField(max_length=100, help_text="What applications ask for, such as “new-checkout”.")
    description = forms.CharField(max_length=10_000, required=False, widget=forms.Textarea(attrs={"rows": 2}))
    type = forms.ChoiceField(choices=Flag.Type.choices, help_text="Of the values; it cannot change later.")
    variants = forms.JSONField(
        initial=_BOOLEAN, widget=forms.Textarea(attrs={"rows": 3}),
        help_text='Values by their names, as JSON: {"strict": 15, "relaxed": 30}.',
    )  # fmt: skip
    off_variant = forms.CharField(label="While it is off", max_length=63, initial="off", help_text="A variant's name.")
    kind = forms.ChoiceField(choices=Flag.Kind.choices)
    owner = forms.CharField(max_length=200, help_text="Who decides about it: a team or an e-mail address.")
    remove_by = forms.DateField(
        label="Remove by", widget=forms.DateInput(attrs={"type": "date"}),
        help_text="When the code should do without it. Permanent flags need no such day.",
        error_messages={"required": "Say by when it is removed; only a permanent flag may stay for ever."},
    )  # fmt: skip
    exposures = forms.BooleanField(label="Write down who saw which variant", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Ask permanent flags for no day of removal."""
        super().__init__(*args, **kwargs)
        self.fields["remove_by"].required = self.data.get("kind") != Flag.Kind.PERMANENT


@page("flags-new/", name="flag-new", permission="flag.write", section="flags", methods=FORM)
def new_flag(request: HttpRequest, here: Place) -> HttpResponse:
    """Create a flag, off everywhere."""
    form = FlagForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> HttpResponse:
        key = values.pop("key")
        if not isinstance(values["variants"], dict):
            raise HeadwaterError("flag_invalid", "variants are an object of names and values")
        create_flag(actor=here.actor, project=here.project, key=key, content=values)
        messages.success(request, f"{key} exists and is off everywhere.")
        return go(request, here.url("flag", key))

    reply = submit(request, form, run, back=here.url("flags")) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/flags/new.html", title="New flag", form=form, back=here.url("flags"), back_title="Flags",
        lead="It is the same in every environment, and off in each until somebody switches it on.",
    )  # fmt: skip


@page(_FLAG, name="flag", permission="flag.read", section="flags")
def flag(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Show a flag: what it answers here, a box to try it out, and what was changed."""
    config = _config(here, key)
    row = config.flag
    configs = FlagConfig.objects.for_org(here.org).filter(flag=row).select_related("environment__project")
    targets = [row.public_id, *(item.public_id for item in configs)]
    state = Line(row, config, ()).state
    return here.render(
        "console/pages/flags/detail.html", title=row.key, lead=row.description, flag=row, config=config, badge=state,
        rules=rules_of(config), configs=configs, snippets=snippets_of(row), may_write=here.may("flag.write", config),
        history=_history(here, targets),
        may_audit=here.holds_any("audit.read", whole=True),
        try_form=TryForm(initial={"context": request.GET.get("context") or '{"targetingKey": "user-1"}'}),
        tried=tried(config, request.GET) if "context" in request.GET else None,
        toolbar="console/pages/flags/flag_toolbar.html", back=here.url("flags"), back_title="Flags",
    )  # fmt: skip


@page(f"{_FLAG}try/", name="flag-try", permission="flag.read", section="flags")
def try_out(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Answer the box on a flag's page: the value for a context, and which rule decides."""
    config = _config(here, key)
    return here.render("console/pages/flags/tried.html", title=key, tried=tried(config, request.GET))


class EditForm(ReasonForm):
    """The rules as text. ``seen`` is the digest of the text whose changes were shown."""

    text = forms.CharField(
        label="Rules", widget=forms.Textarea(attrs={"rows": 18, "class": "mono", "spellcheck": "false"}),
        help_text="As in a flag file: default, rules (when, variant, split, share, steps), prerequisites, from, until",
    )  # fmt: skip
    revision = forms.IntegerField(widget=forms.HiddenInput)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    field_order = ("text", "reason")


@page(f"{_FLAG}edit/", name="flag-edit", permission="flag.write", section="flags", methods=FORM)
def edit(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Edit what this environment says, in two steps: what would change is shown before it is saved."""
    config = _config(here, key)
    here.need("flag.write", config)
    back = here.url("flag", key)
    initial = {"text": text_of(config), "revision": config.revision}
    form = EditForm(request.POST) if request.method == "POST" else EditForm(initial=initial)
    shown: list[str] | None = None
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        seen = hashlib.sha256(values["text"].encode()).hexdigest()
        try:
            changes = changes_in(values["text"])
            check(config, specs_of(here.env), **changes)
            shown = differences(config, changes)
        except HeadwaterError as error:
            form.add_error("text", sentence(error))
        else:
            if values["seen"] == seen and shown:
                reply = _save(request, here, config, form, changes)
                if reply is not None:
                    return reply
            form = _seen(form, seen)
    return here.render(
        "console/pages/flags/edit.html", title=f"Rules of {key}", form=form, shown=shown, config=config,
        back=back, back_title=key, lead=f"What {here.env} says about it.",
    )  # fmt: skip


def _save(
    request: HttpRequest, here: Place, config: FlagConfig, form: EditForm, changes: dict[str, Any]
) -> HttpResponse | None:
    def run(values: dict[str, Any]) -> str:
        if values["revision"] != config.revision:
            raise HeadwaterError(
                "conflict",
                f"{config} was changed by somebody else meanwhile",
                hint="open it again and repeat the change",
            )
        change_config(actor=here.actor, config=config, changes=changes, reason=values["reason"])
        return f"{config} is changed; services answer so within a second."

    return submit(request, form, run, back=here.url("flag", config.flag.key))


def _seen(form: EditForm, digest: str) -> EditForm:
    """Return the form with the mark that its changes were shown, and its errors."""
    again = EditForm({**form.data.dict(), "seen": digest})  # type: ignore[attr-defined]  # a query
    for error in form.non_field_errors():
        again.add_error(None, str(error))
    return again


@page(f"{_FLAG}toggle/", name="flag-toggle", permission="flag.write", section="flags", methods=("POST",))
def toggle(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Switch a flag on or off here."""
    config = _config(here, key)
    enabled = request.POST.get("enabled") == "1"

    def run(values: dict[str, Any]) -> str:
        toggle_flag(actor=here.actor, config=config, enabled=enabled, reason=values["reason"])
        return f"{key} is {'on' if enabled else 'off'} in {here.env.key}."

    return perform(request, run, back=here.url("flag", key))


@page(f"{_FLAG}archive/", name="flag-archive", permission="flag.write", section="flags", methods=("POST",))
def archive(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Stop serving a flag everywhere, or serve it again."""
    row = _config(here, key).flag

    def run(values: dict[str, Any]) -> str:
        act = restore_flag if row.archived_at else archive_flag
        act(actor=here.actor, flag=row, reason=values["reason"])
        return f"{key} is {'archived' if row.archived_at else 'served again'}."

    return perform(request, run, back=here.url("flag", key))


def _history(here: Place, targets: list[str]) -> list[AuditEvent]:
    # Ids are unique, and asking for the organisation's events too would read all of them instead of these few.
    events = AuditEvent.objects.filter(target_id__in=targets).order_by("-n")[:_HISTORY]
    return [event for event in events if event.org_id == here.org.pk]


def _config(here: Place, key: str) -> FlagConfig:
    row = Flag.objects.for_org(here.org).filter(project=here.project, key=key).first()
    if row is None:
        raise Http404
    config = config_of(row, here.env)
    config.environment = here.env
    here.need("flag.read", config)
    return config


def _lines(here: Place, rows: list[Flag]) -> list[Line]:
    configs = FlagConfig.objects.for_org(here.org).filter(flag__in=[row.pk for row in rows])
    by_flag: dict[Any, list[FlagConfig]] = {}
    for config in configs.select_related("environment"):
        by_flag.setdefault(config.flag_id, []).append(config)
    lines = []
    for row in rows:
        known = by_flag.get(row.pk, [])
        own = next((item for item in known if item.environment_id == here.env.pk), None)
        config = own or FlagConfig(flag=row, environment=here.env, default_variant=row.off_variant)
        config.flag = row
        others = [item.environment.key for item in known if item.enabled and item.environment_id != here.env.pk]
        lines.append(Line(row, config, sorted(others)))
    return lines
