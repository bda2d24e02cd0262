"""Small pages that several ways in share."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode

from headwater.control.identity.models import User
from headwater.control.sso.models import IdentityProvider


def to_provider(request: HttpRequest, provider: IdentityProvider, email: str = "") -> HttpResponse:
    """Return the page that goes on to an identity provider by itself.

    A redirect would not do: browsers hold a form that ends at another site against our own policy.
    """
    values = {"login_hint": email, "next": safe_next(request)}
    query = urlencode({name: value for name, value in values.items() if value})
    way = reverse("openid_connect_login", kwargs={"provider_id": provider.public_id})
    context = {
        "provider": provider,
        "url": f"{way}?{query}" if query else way,
        "recovery_url": f"{reverse('account_login')}?{urlencode({'recovery': 'yes'})}",
    }
    return render(request, "identity/to_provider.html", context)


def signed_in(request: HttpRequest) -> User:
    """Return who is signed in, on pages that nobody else reaches."""
    assert isinstance(request.user, User)
    return request.user


def safe_next(request: HttpRequest) -> str:
    """Return where the reader wanted to go, if that is one of our own pages."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    is_ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if is_ours else ""
