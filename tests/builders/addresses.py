"""Every address of the control plane, read off its URL resolver, with parts that name what an organisation has.

A route that is added is walked without anybody thinking of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

import tests.builders.control  # noqa: F401 - sets Django up
from django.apps import apps
from django.urls import URLPattern, URLResolver, get_resolver

from headwater.control.kit.tenancy import Entity, TenantEntity
from headwater.control.orgs.models import Environment

PART: Final = re.compile(r"<(?:(\w+):)?(\w+)>")
_GROUP: Final = re.compile(r"\(\?P<\w+>[^)]*\)")
#: Nobody is signed in at these; each asks for a secret of its own in place of a member.
OPEN: Final = re.compile(r"^(static|accounts|internal|livez|readyz|metrics)")
MACHINES: Final = re.compile(r"^(static|internal|livez|readyz|metrics)")


def rows_of(environment: Environment) -> list[Entity]:
    """Return two rows of every kind that the organisation of ``environment`` has."""
    rows = []
    for model in apps.get_models():
        if issubclass(model, TenantEntity):
            rows += list(model.unscoped.filter(org=environment.org_id)[:2])
    return rows


def routes(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield every address as a template, with its pattern."""
    for item in (resolver or get_resolver()).url_patterns:
        part = str(item.pattern).removeprefix("^").removesuffix("$")
        if isinstance(item, URLResolver):
            yield from routes(item, prefix + part)
        else:
            yield prefix + part, item


def addresses(environment: Environment, besides: re.Pattern[str] = OPEN) -> Iterator[tuple[str, str]]:
    """Yield every template with the addresses that name something of the organisation, ``besides`` those that match."""
    all_rows = rows_of(environment)
    for template, _ in routes():
        if besides.match(template) or template.startswith(("^", "(")):
            continue
        plain = _GROUP.sub("1", template)
        rows = _rows_of_page(plain, all_rows)
        options = [_values_for(name, converter, rows, environment) for converter, name in PART.findall(plain)]
        for at in range(max((len(each) for each in options), default=1)):
            values = iter(each[min(at, len(each) - 1)] for each in options)
            yield template, "/" + PART.sub(lambda _: next(values), plain)  # noqa: B023 - used at once


def _rows_of_page(template: str, rows: list[Entity]) -> list[Entity]:
    """Return the rows that a page of the admin is about, all for a page that is about none or of another kind."""
    parts = template.split("/")
    own = [row for row in rows if parts[:1] == ["admin"] and row._meta.label_lower == ".".join(parts[1:3])]
    return own or rows


def _values_for(name: str, converter: str, rows: Iterable[Entity], environment: Environment) -> list[str]:
    """Return what a part of an address may be, to name something of the organisation."""
    fixed = {
        "org": environment.org.slug, "project": environment.project.slug, "environment": environment.key,
        "env": environment.key,
    }  # fmt: skip
    if name in fixed:
        return [fixed[name]]
    if converter == "uuid" or name in ("object_id", "pk"):
        return [str(row.pk) for row in rows]
    if converter == "int":
        return ["1"]
    names = {
        str(getattr(row, field))
        for row in rows
        for field in ("name", "slug", "key", "number", "version")
        if getattr(row, field, None)
    }
    return sorted(names) if converter == "slug" else sorted({*(row.public_id for row in rows), *names})
