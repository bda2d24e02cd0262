"""Who may put artifacts: asked before a body of up to half a gibibyte is read, and again by the route itself."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError

from headwater.control.access.queries import find_live_key
from headwater.control.api.caller import Caller
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


def admit(scope: dict[str, Any]) -> None:
    """Let a request pass whose sender may put artifacts, by what its headers say; blocking.

    Raises:
        HeadwaterError: ``unauthenticated``, ``forbidden``; ``overloaded`` when the database cannot be asked.
    """
    try:
        require_model_writer(_caller_of(ASGIRequest(scope, io.BytesIO())))
    except DatabaseError as error:
        raise HeadwaterError("overloaded", "the control database is busy", retry_after_seconds=1) from error


def require_model_writer(caller: Caller) -> None:
    """Raise ``forbidden`` unless ``caller`` may write models somewhere."""
    if not any(_may_write_models(caller, environment) for environment in _own_environments(caller)):
        raise HeadwaterError("forbidden", f"{caller.actor.label} lacks model.write", hint="use a developer's key")


def _caller_of(request: ASGIRequest) -> Caller:
    """Return whose key or session the headers hold; a session's CSRF token is the route's business."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        key = find_live_key(token.strip())
        if key is not None:
            return Caller.with_key(key)
    elif session_key := request.COOKIES.get(settings.SESSION_COOKIE_NAME):
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
        user = get_user(request)
        if user.is_authenticated:
            return Caller.with_user(user)
    raise HeadwaterError(
        "unauthenticated", "an artifact needs a valid API key", hint="send `Authorization: Bearer hw_…`"
    )


def _own_environments(caller: Caller) -> list[Environment]:
    return [
        environment
        for org in caller.organizations()
        for project in caller.projects(org)
        for environment in caller.environments(project)
    ]


def _may_write_models(caller: Caller, environment: Environment) -> bool:
    try:
        caller.need("model.write", environment)
    except HeadwaterError:
        return False
    return True
