"""Domains, identity providers and sessions for tests, and an issuer that answers from memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from headwater.control.access.queries import get_role
from headwater.control.identity.models import User
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Organization
from headwater.control.sso.actions import change_enforcement, claim_domain, create_provider, verify_domain
from headwater.control.sso.models import Domain, IdentityProvider

ISSUER = "https://issuer.example.net"


def make_domain(org: Organization, name: str = "example.com") -> Domain:
    """A verified domain of ``org``."""
    domain = claim_domain(actor=SYSTEM, org=org, name=name)
    return verify_domain(actor=SYSTEM, domain=domain, resolve=lambda _name: ["v=spf1 -all", domain.record_value])


def make_provider(org: Organization, **extra: Any) -> IdentityProvider:
    """An identity provider of ``org``, whose issuer is not asked."""
    values: dict[str, Any] = {
        "name": "Example ID",
        "issuer": ISSUER,
        "client_id": "headwater",
        "client_secret": "shared with the issuer",
        "default_role": get_role("analyst"),
    }
    with patch("headwater.control.sso.actions.discover"):
        return create_provider(actor=SYSTEM, org=org, **values | extra)


def make_enforced(org: Organization, domain: str = "example.com") -> IdentityProvider:
    """A provider of ``org`` through which alone addresses of a verified domain come in."""
    make_domain(org, domain)
    provider = make_provider(org)
    with used(provider):
        return change_enforcement(actor=SYSTEM, provider=provider, enforced=True)


@contextmanager
def used(provider: IdentityProvider) -> Iterator[None]:
    """Let somebody have signed in through the provider."""
    from django.utils import timezone

    provider.used_at = timezone.now()
    yield


def make_session(user: User) -> UserSession:
    """A session of ``user`` in some browser."""
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.create()
    assert store.session_key
    session: UserSession = UserSession.objects.create(
        user=user, ip="192.0.2.7", session_key=store.session_key, user_agent="Mozilla/5.0 (X11; Linux) Firefox/140.0"
    )
    return session
