"""Looks at every request of somebody signed in: may this session still be, and is anything asked of its owner first?

A session that an organisation's rules no longer allow ends here, however it was made: before the rule, beside a page
of ours, or in the very moment in which the rule changed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any, Final

from allauth.account.internal.flows.login import get_authentication_records
from allauth.usersessions.models import UserSession
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import sync_and_async_middleware
from django.utils.http import urlencode

from headwater.control.access.queries import actor_for_user
from headwater.control.identity.actions import end_sessions
from headwater.control.identity.pages import signed_in
from headwater.control.kit.problems import problem_response
from headwater.control.orgs.models import Organization
from headwater.control.sso.models import IdentityProvider
from headwater.control.sso.provider import SIGNED_IN_BY
from headwater.control.sso.rules import STRONG_METHODS, barred_from, has_second_factor, mfa_required_by
from headwater.core.errors import HeadwaterError

_API: Final = "/api/"
#: What somebody without the second factor that is asked of them can still reach: the way to get one, and out.
_ENROLMENT: Final = ("/accounts/2fa/", "/accounts/reauthenticate/", "/accounts/logout/", "/static/")
_SEEN_EVERY: Final = timedelta(minutes=5)

GetResponse = Callable[[HttpRequest], Any]


@sync_and_async_middleware
def guard_sessions(get_response: GetResponse) -> GetResponse:
    """Let a request pass, or answer in its place."""
    if iscoroutinefunction(get_response):

        async def serve_async(request: HttpRequest) -> HttpResponseBase:
            stopped = await sync_to_async(_stop)(request) if _concerns(request) else None
            response: HttpResponseBase = stopped or await get_response(request)
            return response

        return serve_async

    def serve(request: HttpRequest) -> HttpResponseBase:
        stopped = _stop(request) if _concerns(request) else None
        response: HttpResponseBase = stopped or get_response(request)
        return response

    return serve


def _concerns(request: HttpRequest) -> bool:
    """Return whether a session could speak for the request; a key on the API speaks for itself."""
    with_key = request.path_info.startswith(_API) and request.headers.get("Authorization", "")[:7].lower() == "bearer "
    return settings.SESSION_COOKIE_NAME in request.COOKIES and not with_key


def _stop(request: HttpRequest) -> HttpResponse | None:
    user = request.user
    if not user.is_authenticated:
        return None
    provider = barred_from(user, get_authentication_records(request, user))
    if provider is not None:
        return _send_away(request, f"{provider.org.name} signs you in through {provider.name} now.")
    _touch(request)
    asking = mfa_required_by(user)
    if not asking or request.path_info.startswith(_ENROLMENT) or has_second_factor(user):
        return None
    unsatisfied = [org for org in asking if not _showed_more(request, org)]
    return _ask_for_factor(request, unsatisfied[0].name) if unsatisfied else None


def _send_away(request: HttpRequest, why: str) -> HttpResponse | None:
    """End the session; the API goes on to find nobody signed in."""
    user = signed_in(request)
    session = UserSession.objects.filter(session_key=request.session.session_key).first()
    if session is not None:
        end_sessions(actor=actor_for_user(user), user=user, sessions=[session], reason=why)
    logout(request)
    if request.path_info.startswith(_API):
        return None
    messages.info(request, why)
    query = urlencode({"next": request.get_full_path()}) if request.method == "GET" else ""
    return redirect(f"{reverse('account_login')}?{query}" if query else reverse("account_login"))


def _ask_for_factor(request: HttpRequest, org: str) -> HttpResponse:
    if request.path_info.startswith(_API):
        error = HeadwaterError(
            "forbidden", f"{org} asks for a second factor first", hint="add one at /accounts/2fa/totp/activate/"
        )
        return problem_response(error, request)
    messages.info(request, f"{org} asks its members for a second factor. Add one to go on.")
    return redirect("mfa_activate_totp")


def _showed_more(request: HttpRequest, org: Organization) -> bool:
    """Return whether the organisation's own provider signed this session in with more than a password."""
    facts = request.session.get(SIGNED_IN_BY) or {}
    if facts.get("user") != str(request.user.pk) or STRONG_METHODS.isdisjoint(facts.get("methods", ())):
        return False
    own = IdentityProvider.objects.for_org(org).filter(enabled=True).first()
    return own is not None and own.public_id == facts.get("provider")


def _touch(request: HttpRequest) -> None:
    """Note now and then that a session is alive, for the list that its owner sees."""
    now = timezone.now()
    mine = UserSession.objects.filter(session_key=request.session.session_key, last_seen_at__lt=now - _SEEN_EVERY)
    if request.method == "GET" and mine.exists():
        mine.update(last_seen_at=now)
