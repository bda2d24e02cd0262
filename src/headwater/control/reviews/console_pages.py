"""The console's review pages: queues, and one task after the other by keyboard."""

from __future__ import annotations

import json
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from headwater.control.console.forms import sentence
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.tables import keyset
from headwater.control.reviews.actions import claim_next, claim_task, decide_task, release_task, renew_lease
from headwater.control.reviews.decisions import TITLES, needs_answers, verdicts_of
from headwater.control.reviews.forms import answers_from_texts, questions
from headwater.control.reviews.models import ReviewQueue, ReviewTask
from headwater.control.reviews.queries import Standing, live_decisions, next_tasks, refusal, standings
from headwater.control.reviews.showing import changes_from, facts_of
from headwater.core.errors import HeadwaterError

_TASK: Final = "review/tasks/<str:task>/"


@page("review/", name="review", permission="review.read", entry=Entry("Review", "review", "Decisions", order=10))
def review(request: HttpRequest, here: Place) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """List the queues that are fed from here, and how they stand."""
    rows = ReviewQueue.objects.for_org(here.org).filter(project=here.project).select_related("form")
    queues = [row for row in rows if row.watches(here.env) and here.holds("review.read", row.key)]
    found = standings(queues, here.env)
    # What needs people most comes first; archived queues only where something waits in them still.
    lines = [(row, found[row.pk]) for row in queues if row.archived_at is None or found[row.pk].waiting]
    lines.sort(key=lambda line: (-line[1].overdue, -line[1].escalated, -line[1].waiting, line[0].key))
    mine = ReviewTask.objects.for_org(here.org).filter(
        environment=here.env, state=ReviewTask.State.CLAIMED, lease_owner_id=here.actor.id
    )
    return here.render(
        "console/pages/reviews/queues.html", title="Review", lines=lines,
        mine=[task for task in mine.select_related("queue")[:10] if task.is_leased()],
        lead="What people have to look at: rows that were refused, predictions that are in doubt.",
    )  # fmt: skip


@page("review/queues/<slug:key>/", name="review-queue", permission="review.read", section="review")
def queue(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Show what waits in a queue, or what was decided."""
    row = _queue(here, key)
    over = request.GET.get("show") == "over"
    tasks = ReviewTask.objects.for_org(here.org).filter(queue=row, environment=here.env).defer("payload")
    if over:
        table = keyset(
            tasks.filter(state__in=("decided", "expired", "cancelled")), request, by="created_at", descending=True
        )
    else:
        table = keyset(next_tasks(row, here.env).defer("payload"), request, by="priority", descending=True)
    standing: Standing = standings([row], here.env)[row.pk]
    return here.render(
        "console/pages/reviews/queue.html", title=str(row), lead=row.instructions, queue=row, standing=standing,
        table=table, over=over, back=here.url("review"), back_title="Review",
        may_decide=here.may("review.decide", row.grant_resource), toolbar="console/pages/reviews/toolbar.html",
    )  # fmt: skip


@page(
    "review/queues/<slug:key>/next/",
    name="review-next",
    permission="review.decide",
    section="review",
    methods=("POST",),
)
def take_next(request: HttpRequest, here: Place, key: str) -> HttpResponse:
    """Claim the most urgent task of a queue and lead to it."""
    return _next(request, here, _queue(here, key))


@page(_TASK, name="review-task", permission="review.read", section="review")
def task(request: HttpRequest, here: Place, task: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show a task."""
    row = _task(here, task)
    return here.render("console/pages/reviews/task.html", title=row.title, **_context(here, row))


@page(f"{_TASK}claim/", name="review-claim", permission="review.decide", section="review", methods=("POST",))
def claim(request: HttpRequest, here: Place, task: str) -> HttpResponse:
    """Claim a task."""
    row = _task(here, task)
    try:
        claim_task(actor=here.actor, task=row)
    except HeadwaterError as error:
        messages.error(request, sentence(error))
    return _work(request, here, row)


@page(f"{_TASK}renew/", name="review-renew", permission="review.decide", section="review", methods=("POST",))
def renew(request: HttpRequest, here: Place, task: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Hold a task for longer; for the page's script."""
    row = _task(here, task)
    try:
        renew_lease(actor=here.actor, task=row)
    except HeadwaterError as error:
        return JsonResponse({"detail": error.detail}, status=error.status)
    assert row.lease_expires_at is not None
    return JsonResponse({"lease_expires_at": row.lease_expires_at.isoformat()})


@page(f"{_TASK}release/", name="review-release", permission="review.decide", section="review", methods=("POST",))
def release(request: HttpRequest, here: Place, task: str) -> HttpResponse:
    """Give a task back and lead to its queue."""
    row = _task(here, task)
    release_task(actor=here.actor, task=row)
    messages.success(request, "Given back. Somebody else can take it.")
    return _lead(request, here.url("review-queue", row.queue.key))


@page(f"{_TASK}decide/", name="review-decide", permission="review.decide", section="review", methods=("POST",))
def decide(request: HttpRequest, here: Place, task: str) -> HttpResponse:
    """Decide a task and go on with the next one of its queue."""
    row = _task(here, task)
    verdict = request.POST.get("verdict", "")
    texts = {
        name.removeprefix("answer-"): str(value) for name, value in request.POST.items() if name.startswith("answer-")
    }
    spec = row.form.spec if row.form else None
    try:
        changes = changes_from(request.POST.get("changes", "")) if verdict == "correct" else {}
        decide_task(
            actor=here.actor, task=row, verdict=verdict, changes=changes, comment=request.POST.get("comment", ""),
            answers=answers_from_texts(spec, texts) if needs_answers(verdict) else {},
        )  # fmt: skip
    except HeadwaterError as error:
        return _work(request, here, row, error=error, said=request.POST.dict())
    messages.success(request, _told(row))
    return _next(request, here, row.queue)


def _next(request: HttpRequest, here: Place, row: ReviewQueue) -> HttpResponse:
    """Claim what comes next in a queue and lead there, or to the queue where nothing does."""
    found = claim_next(actor=here.actor, queue=row, environment=here.env)
    if found is None:
        messages.info(request, "Nothing else waits for you in this queue.")
        return _lead(request, here.url("review-queue", row.key))
    return _lead(request, here.url("review-task", found.public_id))


def _lead(request: HttpRequest, url: str) -> HttpResponse:
    """Lead to an address: htmx loads it in place, so that nothing flickers between one task and the next."""
    if not request.headers.get("HX-Request"):
        return redirect(url)
    return HttpResponse(status=204, headers={"HX-Location": json.dumps({"path": url})})


def _work(
    request: HttpRequest, here: Place, row: ReviewTask, *, error: HeadwaterError | None = None, said: Any = None
) -> HttpResponse:
    """Show a task again, or only what can be done about it where htmx asks."""
    row.refresh_from_db()
    context = _context(here, row, error=error, said=said)
    if error is None:
        return _lead(request, here.url("review-task", row.public_id))
    if request.headers.get("HX-Request"):
        return render(request, "console/pages/reviews/work.html", {"here": here, **context})
    return here.render("console/pages/reviews/task.html", title=row.title, status=error.status, **context)


def _context(here: Place, row: ReviewTask, *, error: HeadwaterError | None = None, said: Any = None) -> dict[str, Any]:
    texts = said or {}
    faults = {str(one.get("path")): str(one.get("message")) for one in (error.extra.get("errors", ()) if error else ())}
    own = row.is_leased() and row.lease_owner_id == here.actor.id
    asked = [
        {"question": one, "value": texts.get(f"answer-{one.name}", ""), "fault": faults.get(one.name, "")}
        for one in questions(row.form.spec if row.form else None)
    ]
    return {
        "task": row, "queue": row.queue, "facts": facts_of(row), "own": own, "leased": row.is_leased(),
        "asked": asked, "said": texts, "error": sentence(error) if error else "",
        "verdicts": _choices(row.queue),
        "decisions": live_decisions(row), "refused": "" if own else refusal(here.actor, row),
        "back": here.url("review-queue", row.queue.key), "back_title": str(row.queue),
        "may_decide": here.may("review.decide", row.queue.grant_resource),
    }  # fmt: skip


def _choices(queue: ReviewQueue) -> list[tuple[int, str, str, bool]]:
    """Return the verdicts with the key that chooses each, what it does, and whether the form belongs to it."""
    return [
        (number, name, TITLES[name], needs_answers(name)) for number, name in enumerate(verdicts_of(queue), start=1)
    ]


def _told(row: ReviewTask) -> str:
    row.refresh_from_db()
    if row.state == ReviewTask.State.DECIDED:
        return "Decided." if row.delivery == ReviewTask.Delivery.NONE else "Decided. It is carried out within seconds."
    if row.state == ReviewTask.State.ESCALATED:
        return "Noted. The reviewers disagree, so somebody else settles it."
    return "Noted. Another reviewer has to decide too."


def _queue(here: Place, key: str) -> ReviewQueue:
    rows = ReviewQueue.objects.for_org(here.org).filter(project=here.project, key=key)
    row: ReviewQueue | None = rows.select_related("form", "project").first()
    if row is None or not row.watches(here.env):
        raise Http404
    here.need("review.read", row.grant_resource)
    return row


def _task(here: Place, task: str) -> ReviewTask:
    try:
        pk = ReviewTask.parse_id(task)
    except HeadwaterError as error:
        raise Http404 from error
    rows = ReviewTask.objects.for_org(here.org).filter(environment=here.env, pk=pk)
    row: ReviewTask | None = rows.select_related("queue__project", "environment__project", "form").first()
    if row is None:
        raise Http404
    here.need("review.read", row.queue.grant_resource)
    return row
