"""Ending the sessions that a provider, once enforced, did not vouch for."""

from __future__ import annotations

from allauth.account.internal.flows.login import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.db.models import Q

from headwater.control.sso.models import Domain, IdentityProvider
from headwater.control.sso.rules import came_through, covers, may_recover


def end_sessions_outside(provider: IdentityProvider) -> int:
    """End the sessions of the provider's people that came another way; return how many.

    A session that is being made meanwhile is ended by the guard, which looks at every request.
    """
    verified = Domain.objects.for_org(provider.org_id).filter(verified_at__isnull=False)
    theirs = Q(pk__in=())
    for domain in verified:
        if covers(provider, domain.name):
            theirs |= Q(user__email__endswith=f"@{domain.name}")
    ended = 0
    for session in UserSession.objects.filter(theirs).select_related("user"):
        records = SessionStore(session.session_key).get(AUTHENTICATION_METHODS_SESSION_KEY) or []
        if not came_through(provider, records) and not may_recover(session.user, provider):
            session.end()
            ended += 1
    return ended
