"""API keys of an environment: make one, see it once, close it."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from django import forms
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.access.actions import create_key, create_service_account, grant, revoke_key, rotate_key
from headwater.control.access.models import ApiKey, ServiceAccount
from headwater.control.access.queries import roles_of
from headwater.control.console.attributes import read_attributes
from headwater.control.console.forms import ConsoleForm, ReasonForm, perform, submit
from headwater.control.console.pages import FORM, Entry, page
from headwater.control.console.place import Place
from headwater.control.console.snippets import KEY
from headwater.control.console.tables import keyset
from headwater.core.permissions import PERMISSIONS

LIFETIMES: Final = ((7, "A week"), (30, "A month"), (90, "Three months"), (365, "A year"))
SOON: Final = timedelta(days=14)
SCOPES: Final = (
    "dataset.ingest", "dataset.read", "endpoint.invoke", "sql.run", "model.invoke", "outcome.write", "feature.read",
    "flag.evaluate",
)  # fmt: skip
"""What keys are mostly made for; others are named on the command line or through the API."""
MINE, NEW = "me", "new"


TABS: Final = (("keys", "Keys"), ("accounts", "Service accounts"))


def tabs_of(here: Place, tab: str) -> list[tuple[str, str, bool]]:
    """Return the parts of the pages about keys with the one that is shown marked."""
    return [(title, here.url(name), name == tab) for name, title in TABS]


@page("keys/", name="keys", permission="key.read", entry=Entry("Keys", "key", "Organisation", order=20))
def keys(request: HttpRequest, here: Place) -> HttpResponse:
    """List the keys of the environment, newest first."""
    rows = (
        ApiKey.objects.for_org(here.org).filter(environment=here.env).select_related("service_account", "user", "use")
    )
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(key_prefix__startswith=q) | Q(service_account__name__icontains=q))
    table = keyset(rows, request, by="created_at", descending=True)
    now = timezone.now()
    return here.render(
        "console/pages/keys/list.html", title="Keys", table=table, q=q, may_write=here.may("key.write"),
        tabs=tabs_of(here, "keys"),
        lines=[(key, _state(key, now)) for key in table.rows], toolbar="console/pages/keys/toolbar.html",
        lead=f"Secrets that speak for a service account or a person in {here.env.key}. Only their digests are kept.",
    )  # fmt: skip


class KeyForm(ConsoleForm):
    """What a key is for, and for how long."""

    name = forms.CharField(max_length=100, help_text="Where it will be used, such as “loader on batch-1”.")
    principal = forms.ChoiceField(label="Speaks for", help_text="A program should have a service account of its own.")
    account_name = forms.SlugField(
        label="Name of the new service account", max_length=63, required=False,
        help_text="Lower-case letters, digits, hyphens and underscores.",
    )  # fmt: skip
    role = forms.ChoiceField(label="Role of the new service account", required=False)
    scopes = forms.MultipleChoiceField(
        label="Limit it to", required=False, widget=forms.CheckboxSelectMultiple,
        choices=[(name, PERMISSIONS[name]) for name in SCOPES],
        help_text="Nothing chosen: everything that whom it speaks for may do here.",
    )  # fmt: skip
    more_scopes = forms.CharField(
        label="Or to these", max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Other permissions, or on one resource only, such as dataset.ingest:flights; one a line.",
    )  # fmt: skip
    networks = forms.CharField(
        max_length=4_000, required=False, widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Where it may be used from, such as 10.1.0.0/16; one a line. Empty: anywhere.",
    )  # fmt: skip
    attributes = forms.CharField(
        max_length=10_000, required=False, widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="What policies know of it as caller.…; one a line, such as carriers: UA, DL or region: north. "
        "It takes policy.write.",
    )  # fmt: skip
    lifetime = forms.TypedChoiceField(label="Expires after", choices=LIFETIMES, coerce=int, initial=90)
    expires_on = forms.DateField(
        label="Or on a day", required=False, widget=forms.DateInput(attrs={"type": "date"}),
        help_text="At its end, in UTC; at most three years ahead.",
    )  # fmt: skip

    def __init__(self, here: Place, data: Any = None) -> None:
        """Offer the service accounts of the project and the roles of the organisation."""
        super().__init__(data)
        accounts = ServiceAccount.objects.for_org(here.org).filter(project=here.project, disabled_at=None)
        self.accounts: dict[str, ServiceAccount] = {str(account.pk): account for account in accounts[:200]}
        self.roles = roles_of(here.org)
        offered = [(key, account.name) for key, account in self.accounts.items()]
        self.fields["principal"].choices = [(NEW, "a new service account"), *offered, (MINE, "me")]  # type: ignore[attr-defined]
        self.fields["role"].choices = [(name, name) for name in self.roles]  # type: ignore[attr-defined]
        self.fields["role"].initial = "producer"

    def clean_attributes(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return read_attributes(self.cleaned_data["attributes"])

    @property
    def allowances(self) -> list[str]:
        """Return what the key is limited to."""
        return [*self.cleaned_data["scopes"], *self.cleaned_data["more_scopes"].split()]

    @property
    def expires_at(self) -> datetime:
        """Return when the key expires: at the end of the day that was chosen, else after its lifetime."""
        day = self.cleaned_data["expires_on"]
        if day is not None:
            return datetime.combine(day + timedelta(days=1), time.min, UTC)
        return timezone.now() + timedelta(days=self.cleaned_data["lifetime"])

    def clean(self) -> dict[str, Any]:
        """Ask for the name of a service account that is to be made."""
        values: dict[str, Any] = super().clean() or {}
        if values.get("principal") == NEW and not values.get("account_name"):
            self.add_error("account_name", "Name the service account that is to be made.")
        return values


@page("keys/new/", name="key-new", permission="key.write", section="keys", methods=FORM)
def new_key(request: HttpRequest, here: Place) -> HttpResponse:
    """Make a key and show its text, this once."""
    form = KeyForm(here, request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> HttpResponse:
        with transaction.atomic():
            key, text = create_key(
                actor=here.actor, environment=here.env, name=values["name"], service_account=_account(here, form),
                user=here.actor.subject if values["principal"] == MINE else None, scopes=form.allowances,
                expires_at=form.expires_at, cidrs=values["networks"].split(), attributes=values["attributes"],
            )  # fmt: skip
        return show_secret(here, key, text)

    reply = submit(request, form, run, back=here.url("keys")) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/keys/new.html", title="New key", form=form, back=here.url("keys"), back_title="Keys",
        lead=f"It works in {here.env} alone.",
    )  # fmt: skip


@page("keys/<slug:key>/revoke/", name="key-revoke", permission="key.write", section="keys", methods=("POST",))
def revoke(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Close a key for good."""
    row = key_of(here, key)

    def run(values: dict[str, Any]) -> str:
        revoke_key(actor=here.actor, key=row, reason=values["reason"])
        return f"{row.name} opens nothing any more."

    return perform(request, run, back=here.url("keys"))


class RotateForm(ReasonForm):
    """How long the old key stays open beside the new one."""

    overlap = forms.TypedChoiceField(
        label="The old key opens for", coerce=int, initial=24,
        choices=[(0, "No longer at all"), (1, "An hour"), (24, "A day"), (168, "A week"), (720, "A month")],
    )  # fmt: skip


@page("keys/<slug:key>/rotate/", name="key-rotate", permission="key.write", section="keys", methods=FORM)
def rotate(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Make the key that follows another, and show its text, this once."""
    row = key_of(here, key)
    form = RotateForm(request.POST if request.method == "POST" else None)

    def run(values: dict[str, Any]) -> HttpResponse:
        overlap = timedelta(hours=values["overlap"])
        made, text = rotate_key(actor=here.actor, key=row, overlap=overlap, reason=values["reason"])
        return show_secret(here, made, text)

    reply = submit(request, form, run, back=here.url("keys")) if request.method == "POST" else None
    return reply or here.render(
        "console/pages/team/form.html", title=f"Rotate {row.name}", form=form, submit="Rotate", back=here.url("keys"),
        back_title="Keys", lead="A new key takes its place; both open until programs have changed over.",
    )  # fmt: skip


def show_secret(here: Place, key: ApiKey, text: str) -> HttpResponse:
    """Return the one page that ever shows the text of a key."""
    return here.render(
        "console/pages/keys/secret.html", title="Copy the key now", key=key, text=text, export=f"export {KEY}={text}"
    )


def key_of(here: Place, key: str) -> ApiKey:
    """Return a key of this environment by its public id, or answer 404."""
    rows = ApiKey.objects.for_org(here.org).filter(environment=here.env, pk=ApiKey.parse_id(key))
    row: ApiKey | None = rows.select_related("service_account", "user", "environment__project", "org").first()
    if row is None:
        raise Http404
    return row


def _account(here: Place, form: KeyForm) -> ServiceAccount | None:
    values = form.cleaned_data
    if values["principal"] == MINE:
        return None
    if values["principal"] != NEW:
        return form.accounts[values["principal"]]
    account = create_service_account(actor=here.actor, project=here.project, name=values["account_name"])
    if values["role"]:
        grant(actor=here.actor, scope=here.project, role=form.roles[values["role"]], service_account=account)
    return account


def _state(key: ApiKey, now: Any) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at <= now:
        return "expired"
    if key.service_account is not None and key.service_account.disabled_at is not None:
        return "disabled"
    return "expires soon" if key.expires_at - now < SOON else "live"
