"""Service accounts of a project: what each may do, how many keys open for it, and switching it off and on."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.access.actions import disable_service_account, enable_service_account
from headwater.control.access.models import ApiKey, Grant, ServiceAccount
from headwater.control.console.forms import perform
from headwater.control.console.pages import page
from headwater.control.console.pages.keys import tabs_of
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset

_VERBS: Final[dict[str, Callable[..., ServiceAccount]]] = {
    "disable": disable_service_account,
    "enable": enable_service_account,
}


@page("keys/accounts/", name="accounts", permission="key.read", section="keys")
def accounts(request: HttpRequest, here: Place) -> HttpResponse:
    """List the project's service accounts with what they hold."""
    table = keyset(ServiceAccount.objects.for_org(here.org).filter(project=here.project), request, by="name")
    found = [row.pk for row in table.rows]
    now = timezone.now()
    given: defaultdict[Any, list[str]] = defaultdict(list)
    grants = Grant.objects.for_org(here.org).filter(service_account__in=found, revoked_at=None)
    for item in grants.select_related("role", "org", "project", "environment__project"):
        if item.is_live(now):
            given[item.service_account_id].append(f"{item.role} on {item.scope}")
    keys = ApiKey.objects.for_org(here.org).filter(service_account__in=found, revoked_at=None, expires_at__gt=now)
    live = Counter(keys.values_list("service_account_id", flat=True))
    return here.render(
        "console/pages/keys/accounts.html", title="Keys", table=table, tabs=tabs_of(here, "accounts"),
        lines=[(row, given[row.pk], live[row.pk]) for row in table.rows], may_write=here.may("key.write"),
        lead=f"Programs that act in {here.project.name}.",
    )  # fmt: skip


@page("keys/accounts/<slug:account>/<slug:verb>/", name="account-switch", permission="key.write", section="keys",
      methods=("POST",))  # fmt: skip
def switch(request: HttpRequest, here: Place, account: str, verb: str) -> HttpResponse:
    """Close a service account, or open it again."""
    key = ServiceAccount.parse_id(account)
    rows = ServiceAccount.objects.for_org(here.org).filter(project=here.project, pk=key)
    row = rows.select_related("project", "org").first()
    act = _VERBS.get(verb)
    if row is None or act is None:
        raise Http404

    def run(values: dict[str, Any]) -> str:
        act(actor=here.actor, account=row, reason=values["reason"])
        return f"{row.name} is {verb}d."

    return perform(request, run, back=here.url("accounts"))
