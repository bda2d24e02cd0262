"""Home: what happens in an environment, what wants somebody's attention, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.contrib.humanize.templatetags.humanize import intcomma, naturaltime
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.access.models import ApiKey
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.data_plane import DatasetStatus, QuarantineGroup
from headwater.control.catalog.models import Activation, Endpoint
from headwater.control.console.overview import Asking, Hour, asking
from headwater.control.console.pages import PAGES, Entry, page
from headwater.control.console.place import Place
from headwater.control.console.templatetags.console import ABSENT
from headwater.control.console.tiles import Tile, tiles_for
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Membership
from headwater.control.reviews.models import ReviewTask
from headwater.control.snapshots.models import Snapshot, SnapshotAck

EVENTS: Final = 8
ASKED: Final = 200
"""Datasets whose state the services are asked for; of more, the hour's figures are of all and the last row of these."""
GROUPS: Final = 5


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do first in a new environment, and whether it is done."""

    title: str
    text: str
    done: bool
    url: str = ""
    command: str = ""


@dataclass(slots=True)
class Live:
    """What the services told, of the datasets that the reader may see."""

    away: str = ""
    statuses: list[DatasetStatus] = field(default_factory=list)
    groups: list[QuarantineGroup] = field(default_factory=list)
    hour: Hour = field(default_factory=Hour)

    @property
    def last_at(self) -> datetime | None:
        """Return when a row last came in."""
        return max((item.last_received_at for item in self.statuses if item.last_received_at), default=None)


@page("", name="home", permission=None, entry=Entry("Home", "home", order=0))
def home(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show the environment."""
    names = _datasets(here)
    datasets, live = len(names), _ask(here, names[:ASKED])
    steps = _steps(here, datasets, live)
    return here.render(
        "console/pages/home.html", title=here.env.key, lead=f"{here.project.name}, {here.org.name}",
        badge="protected" if here.env.protected else "", away=live.away,
        tiles=[*_tiles(here, datasets, live), *tiles_for(here)], steps=steps,
        new=not all(step.done for step in steps), done=sum(step.done for step in steps),
        groups=live.groups[:GROUPS], alerts=_alerts(here), events=_events(here), nodes=_nodes(here),
    )  # fmt: skip


def _datasets(here: Place) -> list[str]:
    """Return the datasets that take rows here, as far as the reader may see them."""
    if not here.holds_any("dataset.read"):
        return []
    active = Activation.objects.for_org(here.org).filter(environment=here.env, dataset__archived_at=None)
    names = active.order_by("dataset__name").values_list("dataset__name", flat=True)
    return [name for name in names if here.holds("dataset.read", name)]


def _ask(here: Place, names: list[str]) -> Live:
    live = Live()
    if not here.holds_any("dataset.read"):
        return live
    with asking() as services:
        _fill(live, here, services, names)
        live.away = services.away
    return live


def _fill(live: Live, here: Place, services: Asking, names: list[str]) -> None:
    env = here.env.public_id
    found: Sequence[DatasetStatus] = services.ask(lambda plane: plane.datasets(env, names), ())
    live.statuses = list(found)
    groups: Sequence[QuarantineGroup] = services.ask(lambda plane: plane.quarantine_groups(env), ())
    live.groups = sorted(
        (group for group in groups if group.open and here.holds("dataset.read", group.dataset)),
        key=lambda group: group.last_at, reverse=True,
    )  # fmt: skip
    live.hour.add(services, env, seen=lambda name: here.holds("dataset.read", name))


def _tiles(here: Place, datasets: int, live: Live) -> list[Tile]:
    found: list[Tile] = []
    if here.holds_any("dataset.read"):
        waiting = sum(group.open for group in live.groups)
        known = not live.away
        listed = here.url("datasets")
        found += [
            Tile("Rows in the last hour", _figure(sum(live.hour.received), known), "every minute of it", listed,
                 line=tuple(map(float, live.hour.received))),
            Tile("Refused in that hour", _figure(sum(live.hour.refused), known), "quarantined or rejected", listed,
                 alert=known and any(live.hour.refused)),
            Tile("In quarantine", _figure(waiting, known), "rows that wait for a verdict", listed,
                 alert=known and waiting > 0),
            Tile("Last row", naturaltime(live.last_at) if live.last_at else ABSENT, _taking(datasets), listed),
        ]  # fmt: skip
    if here.holds_any("review.read"):
        found.append(_reviews(here))
    return found


def _reviews(here: Place) -> Tile:
    waiting = ReviewTask.objects.for_org(here.org).filter(
        environment=here.env, state__in=(ReviewTask.State.OPEN, ReviewTask.State.ESCALATED)
    )
    late = Count("pk", filter=Q(due_at__lt=timezone.now()))
    figures = waiting.aggregate(count=Count("pk"), late=late)
    remark = f"{intcomma(figures['late'])} past their due time" if figures["late"] else "that wait for somebody"
    url = here.url("review") if "review" in PAGES else ""
    return Tile("Review tasks", str(intcomma(figures["count"])), remark, url, alert=bool(figures["late"]))


def _taking(datasets: int) -> str:
    return f"{datasets} dataset{' takes' if datasets == 1 else 's take'} rows"


def _figure(value: int, known: bool) -> str:
    return str(intcomma(value)) if known else ABSENT


def _alerts(here: Place) -> list[ModelAlert]:
    if not here.holds_any("model.read"):
        return []
    rows = ModelAlert.objects.for_org(here.org).filter(environment=here.env, cleared_at=None)
    found = rows.select_related("version__model", "environment__project").order_by("-raised_at")[:20]
    return [alert for alert in found if here.holds("model.read", alert.version.model.name)]


def _events(here: Place) -> list[AuditEvent]:
    if not here.holds_any("audit.read", whole=True):
        return []
    return list(AuditEvent.objects.filter(org_id=here.org.pk).order_by("-n")[:EVENTS])


def _nodes(here: Place) -> list[tuple[SnapshotAck, str]]:
    """Return what each node runs, in a word: current, behind, or refused."""
    newest = Snapshot.objects.for_org(here.org).filter(environment=here.env).order_by("-number")
    number = newest.values_list("number", flat=True).first()
    return [
        (ack, "refused" if ack.error else "current" if ack.number == number else "behind")
        for ack in SnapshotAck.objects.filter(environment=here.env).order_by("node")
    ]


def _steps(here: Place, datasets: int, live: Live) -> list[Step]:
    """Return the way from nothing to a served application, as far as the reader may go it."""
    steps: list[Step] = []
    if here.holds_any("dataset.read"):
        steps.append(Step(
            "Declare a dataset", "A contract says what a row holds. Scaffold a project or infer one from a file.",
            datasets > 0, here.url("datasets"), "headwater new my-project\nheadwater apply my-project",
        ))  # fmt: skip
    if here.holds_any("key.write"):
        keys = ApiKey.objects.for_org(here.org).filter(environment=here.env, revoked_at=None)
        steps.append(Step("Make an API key", "Programs send rows and ask with it.", keys.exists(), here.url("key-new")))
    if here.holds_any("dataset.read"):
        arrived = any(status.counts.get("received") for status in live.statuses)
        text = "Each dataset's page has the call in curl, Python and TypeScript."
        steps.append(Step("Send rows", text, arrived or bool(live.away), here.url("datasets")))
    if here.holds_any("endpoint.read"):
        served = Endpoint.objects.for_org(here.org).filter(environment=here.env, archived_at=None).exists()
        steps.append(Step("Serve an endpoint", "SQL with typed parameters, over HTTP.", served, here.url("endpoints")))
    if here.holds_any("member.write", whole=True):
        alone = Membership.objects.for_org(here.org).count() <= 1
        steps.append(Step("Invite your team", "Each with the role they need.", not alone, here.url("team-invite")))
    return steps
