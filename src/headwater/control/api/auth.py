"""Who calls the control API: a person by session, with the CSRF token on everything that writes, or a key."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from headwater.control.access.places import note_use, require_place
from headwater.control.access.queries import find_live_key
from headwater.control.api.caller import Caller
from headwater.core.errors import HeadwaterError


class KeyAuth(HttpBearer):
    """``Authorization: Bearer hw_…``."""

    openapi_description = "An API key: `Authorization: Bearer hw_…`"

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        """Return the holder of a live key; a bad key never falls back to a session."""
        key = find_live_key(token.strip())
        if key is None:
            raise HeadwaterError(
                "unauthenticated", "the API key is unknown, expired or revoked", hint="create a new key"
            )
        require_place(key, request)
        note_use(key)
        return _remember(request, Caller.with_key(key))


class SessionAuth(APIKeyCookie):
    """The session of somebody who signed in at ``/accounts/login/``."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> Any | None:
        """Return the signed-in user, or None; writing needs the CSRF token."""
        if not request.user.is_authenticated:
            return None
        if check_csrf(request) is not None:
            raise HeadwaterError(
                "forbidden", "the CSRF token is missing or wrong", hint="send the hw_csrf cookie's value as X-CSRFToken"
            )
        return self.authenticate(request, request.COOKIES.get(self.param_name))

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller:  # noqa: ARG002 - ninja's signature
        """Return the signed-in user."""
        return _remember(request, Caller.with_user(request.user))


def caller_of(request: HttpRequest) -> Caller:
    """Return who sent an authenticated request."""
    caller: Caller = request.auth  # type: ignore[attr-defined]
    return caller


def _remember(request: HttpRequest, caller: Caller) -> Caller:
    request.auth = caller  # type: ignore[attr-defined]
    return caller
