"""Opening pages of the control plane as somebody, and noting what each asks of the database and takes."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_QUERIES = 25
MOST_MS = 150
SLOW_MS = 1_500
"""Pages that take longer are over the limit however often they are asked."""


@dataclass
class Visit:
    """A page as one reader found it."""

    page: str
    reader: str
    url: str
    queries: int = 0
    sql_ms: float = 0
    cpu_ms: float = 0
    median_ms: float = 0
    p95_ms: float = 0
    kilobytes: float = 0
    slowest_sql: str = ""
    slowest_sql_ms: float = 0
    problem: str = ""

    @property
    def is_over(self) -> bool:
        return bool(self.problem) or self.queries > MOST_QUERIES or self.p95_ms > MOST_MS


@dataclass
class Recorder:
    """What a request asks of the database."""

    found: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        began = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.found.append(((time.perf_counter() - began) * 1e3, sql))


class Walker:
    """Opens pages as somebody."""

    def __init__(self, reader: str, user: Any, runs: int) -> None:
        """Sign ``user`` in."""
        from django.test import Client

        self.reader, self.runs = reader, runs
        self.client = Client(SERVER_NAME="127.0.0.1", raise_request_exception=False)
        self.client.force_login(user)
        self.visits: list[Visit] = []

    def visit(self, page: str, url: str) -> Any:
        """Open ``url``; return the reply, and note how it went if it is a page."""
        began = time.perf_counter()
        reply = self._open(url)
        first = (time.perf_counter() - began) * 1e3
        if reply.status_code >= 500:
            self.visits.append(Visit(page, self.reader, url, problem=f"status {reply.status_code}"))
            return None
        if reply.status_code != 200:
            return None
        visit = Visit(page, self.reader, url, kilobytes=round(len(_content(reply)) / 1e3, 1))
        took, recorder, cpu = [first], Recorder(), []
        for _ in range(self.runs if first < SLOW_MS else 1):
            recorder.found.clear()
            began = time.process_time()
            took.append(self._timed(url, recorder))
            cpu.append((time.process_time() - began) * 1e3)
        visit.cpu_ms = round(sorted(cpu)[len(cpu) // 2], 1)
        took = sorted(took[1:] or took)
        visit.queries = len(recorder.found)
        visit.sql_ms = round(sum(ms for ms, _ in recorder.found), 1)
        visit.median_ms, visit.p95_ms = round(took[len(took) // 2], 1), round(took[int((len(took) - 1) * 0.95)], 1)
        if recorder.found:
            ms, sql = max(recorder.found)
            visit.slowest_sql, visit.slowest_sql_ms = sql[:600], round(ms, 1)
        self.visits.append(visit)
        if visit.is_over:
            print(
                f"  {self.reader:10} {page:34} {visit.queries:4} {visit.cpu_ms:9.1f} {visit.median_ms:9.1f}"
                f" {visit.p95_ms:9.1f} {visit.slowest_sql_ms:8.1f}",
                flush=True,
            )
        return reply

    def _timed(self, url: str, recorder: Recorder) -> float:
        from django.db import connection

        began = time.perf_counter()
        with connection.execute_wrapper(recorder):
            self._open(url)
        return (time.perf_counter() - began) * 1e3

    def _open(self, url: str) -> Any:
        return self.client.get(url)


def _content(reply: Any) -> bytes:
    return b"".join(reply.streaming_content) if reply.streaming else reply.content


def walk_console(walker: Walker, environment: Any, arguments: dict[str, tuple[Any, ...]]) -> None:
    """Open every page of the console, search each list, and turn its page."""
    from headwater.control.console.pages import PAGES

    for page in PAGES.values():
        if "GET" not in page.methods or page.name == "audit-export":
            continue
        url = _address(page, environment, arguments)
        if url is None:
            walker.visits.append(Visit(page.name, walker.reader, page.route, problem="no arguments known"))
            continue
        reply = walker.visit(page.name, url)
        if reply is None or reply.streaming:
            continue
        text = reply.content.decode()
        following = re.search(r'href="(\?[^"]*after=[^"]*)"', text)
        if following:
            walker.visit(f"{page.name} (next)", url + html.unescape(following[1]))
        if 'name="q"' in text:
            walker.visit(f"{page.name} (search)", f"{url}?q=data_1")
            walker.visit(f"{page.name} (vain search)", f"{url}?q=zzzz")
    for query in ("actor=person-7@example.com", "action=flag", "target=data_77", "period=30", "show=over"):
        name = "review-queue" if query == "show=over" else "audit"
        walker.visit(f"{name} ({query})", f"{_address(PAGES[name], environment, arguments)}?{query}")


def _address(page: Any, environment: Any, arguments: dict[str, tuple[Any, ...]]) -> str | None:
    org = environment.org.slug
    base = f"/o/{org}/-/" if page.whole else f"/o/{org}/{environment.project.slug}/{environment.key}/"
    given = iter(arguments.get(page.name, ()))
    try:
        return base + re.sub("<[^>]*>", lambda _: str(next(given)), page.route)
    except StopIteration:
        return None


def console_arguments(environment: Any) -> dict[str, tuple[Any, ...]]:
    """Return rows for the addresses of pages about one thing."""
    from headwater.control.access.models import ApiKey, Group
    from headwater.control.audit.models import AuditEvent
    from headwater.control.orgs.models import Membership
    from headwater.control.reviews.models import ReviewTask

    org = environment.org
    key: Any = ApiKey.objects.for_org(org).filter(environment=environment).first()
    group: Any = Group.objects.for_org(org).first()
    member: Any = Membership.objects.for_org(org).order_by("-id").first()
    task: Any = ReviewTask.objects.for_org(org).filter(state="open").order_by("id").first()
    event: Any = AuditEvent.objects.filter(org_id=org.pk).order_by("-n").first()
    return {
        **dict.fromkeys(("dataset", "dataset-quality", "dataset-rows"), ("data_3",)),
        "endpoint": ("endpoint_3",),
        "feature": ("view_3",),
        "model": ("model-3",),
        **dict.fromkeys(("model-version", "model-approve", "model-promote", "model-alias"), ("model-3", 2)),
        **dict.fromkeys(("key-revoke", "key-rotate"), (key.public_id,)),
        "team-role": (member.public_id,),
        **dict.fromkeys(("team-group", "team-group-add"), (group.public_id,)),
        **dict.fromkeys(("flag", "flag-try", "flag-edit"), ("flag-3",)),
        "review-queue": ("queue-0",),
        "review-task": (task.public_id,),
        "audit-event": (event.public_id,),
    }


def walk_admin(walker: Walker) -> None:
    """Open the admin's home, and of each model the list, as it can be changed, the first row, and every form."""
    from django.contrib import admin
    from django.urls import NoReverseMatch, reverse

    walker.visit("admin home", reverse("admin:index"))
    for model, page in admin.site._registry.items():  # noqa: SLF001
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        name = f"admin {model._meta.label}"
        url = reverse(f"{base}_changelist")
        reply = walker.visit(name, url)
        if reply is None:
            continue
        changelist = reply.context_data["cl"]
        for label, query in _variations(page, changelist):
            walker.visit(f"{name} ({label})", url + query)
        row = next(iter(changelist.result_list), None)
        for pattern in page.get_urls():
            if not pattern.name or pattern.name.endswith(("changelist", "add", "delete", "history", "verify")):
                continue
            try:
                there = reverse(f"admin:{pattern.name}", args=(row.pk,) if row and pattern.pattern.converters else ())
            except NoReverseMatch:
                continue
            walker.visit(f"{name} {pattern.name.removeprefix(base.removeprefix('admin:'))}", there)


def _variations(page: Any, changelist: Any) -> Iterator[tuple[str, str]]:
    if page.search_fields:
        yield "search", "?q=data_1"
        yield "vain search", "?q=zzzz"
    yield "page 2", "?p=2"
    for spec in changelist.filter_specs:
        chosen = [choice for choice in spec.choices(changelist) if choice.get("query_string", "?") != "?"]
        if chosen:
            yield f"by {spec.title}", chosen[-1]["query_string"]
    for number in changelist.get_ordering_field_columns() or (1,):
        yield "as ordered", f"?o={number}"
    for number, column in enumerate(changelist.list_display):
        if number and page.sortable_by is None and changelist.get_ordering_field(column):
            yield f"sorted by {column}", f"?o={number}"
