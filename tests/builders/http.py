"""Talking to the control API in tests: a client with a key or a session, answers as plain JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from django.test import Client
from tests.builders.control import make_account, make_key, make_member

from headwater.control.identity.models import User
from headwater.control.orgs.models import Environment
from headwater.core.ids import new_uuid

ROOT = "/api/v1"


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of a reply."""

    status: int
    body: Any
    headers: dict[str, str]


class Api:
    """The control API as one caller sees it."""

    def __init__(self, client: Client, headers: dict[str, str] | None = None) -> None:
        self.client = client
        self._headers = headers or {}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        content: Any = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        reply = self.client.generic(
            method, ROOT + path, content, content_type=kind, headers={**self._headers, **headers}
        )
        return Answer(reply.status_code, _read(reply), dict(reply.headers))

    def get(self, path: str) -> Answer:
        return self("GET", path)

    def post(self, path: str, body: Any = None) -> Answer:
        return self("POST", path, {} if body is None else body)


def _read(reply: Any) -> Any:
    """Return the body as plain JSON: of lines of JSON all of them, of nothing None."""
    text = reply.getvalue().decode()
    if reply.headers.get("Content-Type") == "application/x-ndjson":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if text else None


def with_key(environment: Environment, role: str = "developer", **extra: Any) -> Api:
    """Return the API for the holder of a fresh key with ``role``."""
    account = make_account(environment.project, f"a{new_uuid().hex[:12]}", role=role)
    _, text = make_key(environment, account, **extra)
    return Api(Client(), {"Authorization": f"Bearer {text}"})


def with_session(environment: Environment, role: str = "owner", *, user: User | None = None) -> Api:
    """Return the API for a signed-in member; CSRF is not checked."""
    member = make_member(environment.org, role, user)
    client = Client()
    client.force_login(member.user)
    return Api(client)


def project_path(environment: Environment, *rest: str) -> str:
    """Return the address of something in a project."""
    return "/".join((f"/organizations/{environment.org.slug}/projects/{environment.project.slug}", *rest))


def environment_path(environment: Environment, *rest: str) -> str:
    """Return the address of something in an environment."""
    return project_path(environment, "environments", environment.key, *rest)
