"""Taking up an invitation, as somebody new or with the account one has."""

from __future__ import annotations

from typing import Any

from allauth.account.internal.flows.login import perform_login, record_authentication
from allauth.account.models import Login
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from headwater.control.access.queries import actor_for_user
from headwater.control.identity.actions import create_user
from headwater.control.identity.forms import NewAccountForm
from headwater.control.identity.invitations import accept, find
from headwater.control.identity.models import Invitation, User
from headwater.control.identity.pages import signed_in
from headwater.control.identity.views import too_many
from headwater.control.kit.actions import SYSTEM
from headwater.control.sso.rules import enforced_provider
from headwater.core.errors import HeadwaterError


@never_cache
@sensitive_post_parameters("password")
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, and take it up."""
    limited = too_many(request)
    if limited is not None:
        return limited
    try:
        found = find(token)
        response = _answer(request, found, token)
    except HeadwaterError as error:
        response = render(request, "identity/invitation_gone.html", {"error": error}, status=error.status)
    # The address is the secret: it must not travel to wherever the reader goes next. Without any referrer, though,
    # browsers would say of the form that it comes from nowhere, and it would be refused.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _answer(request: HttpRequest, found: Invitation, token: str) -> HttpResponse:
    if request.user.is_authenticated:
        return _as_user(request, found)
    here = reverse("invitation", kwargs={"token": token})
    provider = enforced_provider(found.email)
    known = User.objects.filter(email=found.email).exists()
    context = {"invitation": found, "next": here, "provider": provider, "known": known}
    if known or provider is not None:
        sign_in = f"{reverse('account_login')}?{urlencode({'next': here, 'email': found.email})}"
        return render(request, "identity/invitation.html", context | {"sign_in_url": sign_in})
    return _as_new(request, found, context)


def _as_user(request: HttpRequest, found: Invitation) -> HttpResponse:
    """Let whoever is signed in join, if it is they who were invited."""
    user = signed_in(request)
    if request.method == "POST" and user.email == found.email:
        accept(actor=actor_for_user(user), invitation=found, user=user)
        messages.success(request, f"You are a member of {found.org.name} now.")
        return redirect("/")
    return render(request, "identity/invitation.html", {"invitation": found, "known": True})


def _as_new(request: HttpRequest, found: Invitation, context: dict[str, Any]) -> HttpResponse:
    """Make an account for the invited address: that the link arrived there proves it."""
    form = NewAccountForm(request.POST or None, email=found.email)
    if request.method != "POST" or not form.is_valid():
        return render(request, "identity/invitation.html", context | {"form": form})
    with transaction.atomic():
        user = create_user(
            actor=SYSTEM, email=found.email, password=form.cleaned_data["password"], name=form.cleaned_data["name"]
        )
        accept(actor=actor_for_user(user), invitation=found, user=user)
    record_authentication(request, user, method="password", email=user.email)
    response: HttpResponse = perform_login(request, Login(user=user, email=user.email))
    return response
