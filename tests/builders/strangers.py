"""Strangers to an organisation, and every address of the control plane at which they could look for what it has.

Templates are read off the URL resolver and values for their parts off the organisation's rows: a part is filled with
rows of the kind that it, the segment before it or the page of the admin speaks of. So a route that is added is walked
without anybody thinking of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from django.apps import apps
from django.contrib.auth import SESSION_KEY
from django.contrib.messages import get_messages
from django.test import Client
from tests.builders.addresses import OPEN, PART, routes
from tests.builders.control import make_account, make_key, make_member
from tests.builders.onnx_models import linear

from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.models import Dataset
from headwater.control.identity.actions import change_staff
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment, Membership

#: Parts that are words of the route's own.
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "verb": ("approve", "remove", "require", "revoke", "suspend", "verify"),
    "verdict": ("activate", "discard", "replay"),
    "kind": ("csv",),
    "session": ("1",),
    "_rest": ("nothing",),
    "sha256": (hashlib.sha256(linear([1.0, 2.0])).hexdigest(),),
}
_PLACES: Final = ("org", "project", "environment")
_CHOICE: Final = re.compile(r"\(\?P<\w+>([^)]*)\)")
_NAMES: Final = ("name", "slug", "key", "number", "version", "alias")
_WRITING: Final = ("POST", "PUT", "PATCH", "DELETE")
_FORM: Final = "application/x-www-form-urlencoded"


def belongings(environment: Environment) -> list[Any]:
    """Return the rows of an organisation, at most two of every kind, with its people and its audit log."""
    org = environment.org
    kinds = [model for model in apps.get_models() if issubclass(model, TenantEntity)]
    rows: list[Any] = [org, *AuditEvent.objects.filter(org_id=org.pk)[:1]]
    rows += User.objects.filter(pk__in=Membership.objects.for_org(org).values("user"))[:1]
    return rows + [row for model in kinds for row in model.unscoped.filter(org=org).order_by("-created_at")[:2]]


def walked(environment: Environment, orgs: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Yield every template with the addresses that name something of the organisation.

    Args:
        environment: the organisation's.
        orgs: the organisations in whose name the rows are asked for.
    """
    rows = belongings(environment)
    for template in sorted({template for template, _ in routes()}):
        if OPEN.match(template) or template.startswith(("^", "(")):
            continue
        found = []
        for plain in _chosen(template):
            options = [_values(plain, part, rows, environment, orgs) for part in PART.finditer(plain)]
            for values in product(*options):
                filled = iter(values)
                found.append("/" + PART.sub(lambda _: next(filled), plain))  # noqa: B023 - used at once
        yield template, sorted(set(found))


def names_rows(template: str) -> bool:
    """Return whether addresses of a template name rows of an organisation, beside the place where they are."""
    return any(name not in _PLACES and name not in _WORDS for _, name in PART.findall(template))


def _chosen(template: str) -> list[str]:
    """Return a template with each of the words that a group of it allows, such as the parts of the admin."""
    group = _CHOICE.search(template)
    if group is None:
        return [template]
    words = [word for word in group[1].split("|") if word.isalpha()]
    return [template[: group.start()] + word + template[group.end() :] for word in words or [""]]


def _values(
    template: str, part: re.Match[str], rows: list[Any], environment: Environment, orgs: tuple[str, ...]
) -> list[str]:
    """Return what a part of an address may be, to name something of the organisation."""
    converter, name = part.groups()
    content_type = apps.get_model("contenttypes", "ContentType").objects.get_for_model(Dataset)
    fixed = {
        **_WORDS, "org": orgs, "project": (environment.project.slug,), "environment": (environment.key,),
        "content_type_id": (str(content_type.pk),),
    }  # fmt: skip
    if name in fixed and converter != "uuid":
        return list(fixed[name])
    if converter == "int":
        return ["1"]
    fitting = _fitting(template, part, rows)
    if template.startswith("admin/"):
        return [str(row.pk) for row in fitting or [row for row in rows if isinstance(row, Dataset)]]
    names = {str(getattr(row, each, "") or "") for row in fitting or rows for each in _NAMES}
    names |= {row.public_id for row in fitting or rows}
    return sorted(each for each in names if each and (converter != "slug" or re.fullmatch(r"[-\w]+", each)))


def _fitting(template: str, part: re.Match[str], rows: list[Any]) -> list[Any]:
    """Return the rows of the kind that a part stands for; none if that cannot be told."""
    name = part[2].removesuffix("_id")
    before = template[: part.start()].rstrip("/").split("/")
    if template.startswith("admin/") and name in ("object", "pk"):
        return [row for row in rows if row._meta.label_lower == ".".join(before[1:3])]
    words = (before[-1].replace("-", "").removesuffix("s"), name)
    for word in words:
        exact = [row for row in rows if row._meta.model_name == word]
        if exact:
            return exact
    for word in words:
        near = [row for row in rows if word in str(row._meta.model_name)]
        if near:
            return near
    return []


@dataclass
class Visitor:
    """Somebody who walks.

    Attributes:
        kind: ``member``, ``staff`` or ``key``.
        user: who signs in; None: a key speaks for itself.
    """

    kind: str
    client: Client = field(default_factory=Client)
    user: User | None = None

    def sign_in(self) -> None:
        """Sign in, unless they still are: one of the addresses is where they sign out."""
        if self.user is not None and SESSION_KEY not in self.client.session:
            self.client.force_login(self.user)

    def walks(self, path: str) -> bool:
        """Return whether they walk there: the admin is for staff, the API for members and keys."""
        if path.startswith("/admin/"):
            return self.kind == "staff"
        return self.kind == "member" or (self.kind == "key" and path.startswith("/api/"))

    def see(self, path: str) -> tuple[int, str]:
        """Return the status of a page and all that it shows: the body, where it leads, and what it says.

        The admin says "… with ID … doesn't exist" on the page that is asked for next, where it would look as if that
        page knew the ID. So what is said is read here, and taken away from there.
        """
        self.sign_in()
        reply = self.client.get(path)
        said = [str(message) for message in get_messages(reply.wsgi_request)]
        self.client.cookies.pop("messages", None)
        body = reply.getvalue().decode("utf-8", "replace")
        return reply.status_code, "\n".join((body, reply.headers.get("Location", ""), *said))

    def writes(self, path: str) -> tuple[str, ...]:
        """Return the methods by which something may be changed at an address."""
        if not path.startswith("/api/"):
            return ("POST",)
        allowed = self.client.options(path).headers.get("Allow", ", ".join(_WRITING))
        return tuple(method for method in _WRITING if method in allowed)

    def send(self, method: str, path: str) -> int:
        """Return the status of a form or a call of the API that says as little as it may."""
        self.sign_in()
        sent = (b"{}", "application/json") if path.startswith("/api/") else (b"reason=mine", _FORM)
        reply = self.client.generic(method, path, sent[0], content_type=sent[1])
        self.client.cookies.pop("messages", None)
        return reply.status_code

    def is_let_in(self) -> bool:
        """Return whether they may still do what they may, so that what was refused was refused to them."""
        home = {"staff": "/admin/", "member": "/", "key": "/api/v1/organizations"}[self.kind]
        return self.client.get(home, follow=True).status_code == 200 and (
            self.user is None or SESSION_KEY in self.client.session
        )


def visitors(environment: Environment) -> list[Visitor]:
    """Return an owner of an organisation, one on staff, and the holder of its most powerful key."""
    member, staff = make_member(environment.org, "owner").user, make_member(environment.org, "owner").user
    change_staff(actor=SYSTEM, user=staff, is_staff=True)
    _, text = make_key(environment, make_account(environment.project, "mighty", role="owner"))
    bearer = Client(headers={"Authorization": f"Bearer {text}"})
    found = [Visitor("member", user=member), Visitor("staff", user=staff), Visitor("key", bearer)]
    for each in found:
        each.sign_in()
    return found
