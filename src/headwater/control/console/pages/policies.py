"""Policies: who sees which rows and columns of a dataset or an endpoint, and what somebody would see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.console.forms import perform, sentence, submit
from headwater.control.console.lineage import dataset_pages
from headwater.control.console.pages import FORM, Entry, page
from headwater.control.console.place import Place
from headwater.control.console.policy_form import PolicyForm
from headwater.control.console.tables import keyset
from headwater.control.policies.actions import archive_policy, publish_policy, reorder_policies
from headwater.control.policies.drafts import draft_policy, policy_content
from headwater.control.policies.explain import Explanation, Question, explain, find_who
from headwater.control.policies.fit import show_principals
from headwater.control.policies.models import AccessPolicy
from headwater.control.policies.resources import Resources
from headwater.control.policies.row_access import RowAccess, explain_draft
from headwater.core.errors import HeadwaterError

_READING: Final = {"dataset": "dataset.read", "endpoint": "endpoint.invoke"}
"""What shows rows of a resource, by its kind."""
_STEP: Final = 10
"""Between the priorities of two new policies, so that another one fits between them."""
_ON: Final = "policies/on/<slug:kind>/<slug:name>/"


@page("policies/", name="policies", permission="policy.read", entry=Entry("Policies", "policy", "Data", order=40))
def policies(request: HttpRequest, here: Place) -> HttpResponse:
    """List the policies in force in the environment."""
    rows = _in_force(here)
    if not here.holds("policy.read"):
        rows = rows.filter(name__in=here.named("policy.read"))
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(resource__icontains=q) | Q(purpose__icontains=q))
    table = keyset(rows, request, by="name")
    return here.render(
        "console/pages/policies/list.html", title="Policies", table=table, lines=_lines(here, table.rows), q=q,
        may_write=here.may("policy.write"), toolbar="console/pages/policies/toolbar.html",
        lead=f"Who sees which rows and columns in {here.env.key}. The first that matches decides, alone.",
    )  # fmt: skip


@page("policies/new/", name="policy-choose", permission="policy.write", section="policies")
def choose(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Ask what a new policy is to be about."""
    resources = Resources(here.env)
    offered = [
        (kind, [(name, here.url("policy-new", kind, name)) for name in resources.names(kind)]) for kind in _READING
    ]
    return here.render(
        "console/pages/policies/choose.html", title="New policy", offered=offered, back=here.url("policies"),
        back_title="Policies", lead="What is it about?",
    )  # fmt: skip


@page(_ON, name="policies-on", permission="policy.read", section="policies")
def on_resource(request: HttpRequest, here: Place, kind: str, name: str) -> HttpResponse:
    """Show the policies on one dataset or endpoint in their order, and what somebody sees of it."""
    resource = _resource(kind, name)
    here.need("policy.read")
    rows = list(_in_force(here).filter(resource=resource).order_by("priority"))
    if not rows and name not in Resources(here.env).names(kind):
        raise Http404
    who = request.GET.get("who", "").strip()[:254]
    answer, problem = _ask(here, resource, who) if who else (None, "")
    address = dataset_pages(here, [name]).get(name, "") if kind == "dataset" else here.url(kind, name)
    return here.render(
        "console/pages/policies/resource.html", title=name, kind=kind, address=address, name=name,
        lines=_lines(here, rows), who=who, answer=answer, problem=problem, may_write=here.may("policy.write"),
        lead=f"Policies on this {kind}, in order.", back=here.url("policies"), back_title="Policies",
        toolbar="console/pages/policies/resource_toolbar.html",
    )  # fmt: skip


@page(f"{_ON}new/", name="policy-new", permission="policy.write", section="policies", methods=FORM)
def new_policy(request: HttpRequest, here: Place, kind: str, name: str) -> HttpResponse:
    """Write a policy and put it in force."""
    resource = _resource(kind, name)
    taken = _in_force(here).filter(resource=resource).order_by("-priority").values_list("priority", flat=True).first()
    initial = {"priority": min((taken or 0) + _STEP, 1_000_000)}
    form = PolicyForm(resource, _columns(here, resource), _data(request), initial=initial)
    return _write(request, here, form, None)


@page("policies/<slug:policy>/change/", name="policy-change", permission="policy.write", section="policies",
      methods=FORM)  # fmt: skip
def change(request: HttpRequest, here: Place, policy: str) -> HttpResponse:
    """Change a policy."""
    row = _policy(here, policy)
    form = PolicyForm.of(row, _columns(here, row.resource), _data(request))
    return _write(request, here, form, row)


@page("policies/<slug:policy>/move/", name="policy-move", permission="policy.write", section="policies",
      methods=("POST",))  # fmt: skip
def move(request: HttpRequest, here: Place, policy: str) -> HttpResponse:
    """Let a policy be asked before the one above it, or after the one below."""
    row = _policy(here, policy)
    on = _in_force(here).filter(resource=row.resource).order_by("priority")
    names = list(on.values_list("name", flat=True))
    at = names.index(row.name)
    to = at - 1 if request.POST.get("direction") == "up" else at + 1

    def run(values: dict[str, Any]) -> str:
        if 0 <= to < len(names):
            names.insert(to, names.pop(at))
        reorder_policies(
            actor=here.actor, environment=here.env, resource=row.resource, names=names, reason=values["reason"]
        )
        return f"{row.name} is number {names.index(row.name) + 1} now."

    return perform(request, run, back=here.url("policies-on", row.resource_kind, row.resource_name))


@page("policies/<slug:policy>/archive/", name="policy-archive", permission="policy.write", section="policies",
      methods=("POST",))  # fmt: skip
def archive(request: HttpRequest, here: Place, policy: str) -> HttpResponse:
    """Take a policy out of force."""
    row = _policy(here, policy)

    def run(values: dict[str, Any]) -> str:
        archive_policy(actor=here.actor, policy=row, reason=values["reason"])
        return f"{row.name} is out of force."

    return perform(request, run, back=here.url("policies-on", row.resource_kind, row.resource_name))


def _write(request: HttpRequest, here: Place, form: PolicyForm, row: AccessPolicy | None) -> HttpResponse:
    """Show the form, what the policy would show to somebody, or put it in force."""
    back = here.url("policies-on", *form.resource.split(":"))

    def run(values: dict[str, Any]) -> str:
        content, columns = policy_content(here.env, form.document())
        made = publish_policy(
            actor=here.actor, environment=here.env, name=form.policy_name, content=content, columns=columns,
            reason=values["reason"],
        )  # fmt: skip
        return f"{made.name} is in force within a second."

    seen: RowAccess | None = None
    reply: HttpResponse | None = None
    if request.method == "POST" and "preview" in request.POST:
        seen = _preview(here, form)
    elif request.method == "POST":
        reply = submit(request, form, run, back=back)
    kind, name = form.resource.split(":")
    return reply or here.render(
        "console/pages/policies/edit.html", title=row.name if row else f"New policy on {name}", form=form, seen=seen,
        back=back, back_title=name, columns=form.columns, row=row,
        lead=f"On the {kind} {name}. Without a policy that matches, nothing is shown.",
    )  # fmt: skip


def _preview(here: Place, form: PolicyForm) -> RowAccess | None:
    """Return what the person asked about would see; what hinders it is left in the form's errors."""
    if not form.is_valid():
        return None
    try:
        who = _who(here, form.cleaned_data["who"] or here.actor.label)
        draft = draft_policy(here.env, form.policy_name, form.document())
        return explain_draft(who, here.env, draft.to_spec(), timezone.now())
    except HeadwaterError as error:
        form.add_error(None, sentence(error))
        return None


def _ask(here: Place, resource: str, who: str) -> tuple[Explanation | None, str]:
    """Return what somebody sees of a resource now, or why that cannot be said."""
    permission = _READING[resource.partition(":")[0]]
    try:
        return explain(Question(_who(here, who), permission, here.env, resource)), ""
    except HeadwaterError as error:
        return None, sentence(error)


def _who(here: Place, text: str) -> Any:
    if text.strip().lower() == here.actor.label:
        return here.actor.subject
    here.need("member.read")
    return find_who(here.env, text.strip())


def _lines(here: Place, rows: Iterable[AccessPolicy]) -> list[tuple[AccessPolicy, list[str]]]:
    """Return policies with whom they are for, as people write it."""
    found = list(rows)
    names = show_principals(here.env, (one for row in found for one in row.principals))
    return [(row, [names[one] for one in row.principals]) for row in found]


def _in_force(here: Place) -> Any:
    return AccessPolicy.objects.for_org(here.org).filter(environment=here.env, archived_at=None)


def _policy(here: Place, name: str) -> AccessPolicy:
    row: AccessPolicy | None = _in_force(here).filter(name=name).select_related("environment__project", "org").first()
    if row is None:
        raise Http404
    here.need("policy.read", row)
    return row


def _columns(here: Place, resource: str) -> list[tuple[str, str]]:
    columns = Resources(here.env).columns(resource)
    if columns is None:
        raise Http404
    return list(columns)


def _resource(kind: str, name: str) -> str:
    if kind not in _READING:
        raise Http404
    return f"{kind}:{name}"


def _data(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None
