"""Our pages around allauth's: the two steps of signing in, signing out, and the sessions of an account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.account.views import LoginView as AllauthLoginView
from allauth.account.views import LogoutView as AllauthLogoutView
from allauth.core import ratelimit
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from headwater.control.access.queries import actor_for_user
from headwater.control.identity.actions import end_sessions
from headwater.control.identity.browsers import describe
from headwater.control.identity.forms import EmailForm
from headwater.control.identity.mail import absolute
from headwater.control.identity.pages import safe_next, signed_in, to_provider
from headwater.control.identity.social import ID_TOKEN_PURPOSE
from headwater.control.kit.sealing import unseal
from headwater.control.sso.fetching import AddressRefused, require_secure
from headwater.control.sso.provider import SIGNED_IN_BY
from headwater.control.sso.rules import provider_for
from headwater.core.errors import HeadwaterError


class LoginView(AllauthLoginView):  # type: ignore[misc]
    """Asks for the e-mail first: its domain decides which way in there is."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ARG002
        """Show the first step."""
        return self._first_step(EmailForm(initial={"login": request.GET.get("email", "")[:254]}))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Go on to the identity provider or to the password, or check the password."""
        if "password" in request.POST:
            answer: HttpResponse = super().post(request, *args, **kwargs)
            return answer
        form = EmailForm(request.POST)
        if not form.is_valid():
            return self._first_step(form)
        email = form.cleaned_data["login"]
        provider = provider_for(email)
        if provider is not None and provider.enforced and not self._recovers():
            return to_provider(request, provider, email)
        return self._second_step(self.get_form_class()(request=request, initial={"login": email}), email)

    def form_invalid(self, form: Any) -> HttpResponse:
        """Show what was wrong beside the password, or send whoever has no password here to their provider."""
        email = str(form.data.get("login", ""))[:254]
        if form.provider is not None:
            return to_provider(self.request, form.provider, email)
        if "login" in form.errors:
            return self._first_step(EmailForm(self.request.POST))
        return self._second_step(form, email)

    def _recovers(self) -> bool:
        return "yes" in (self.request.POST.get("recovery"), self.request.GET.get("recovery"))

    def _first_step(self, form: EmailForm) -> HttpResponse:
        return self._show("account/login_email.html", form)

    def _second_step(self, form: Any, email: str) -> HttpResponse:
        provider = provider_for(email)
        offered = provider if provider is not None and not provider.enforced else None
        way = reverse("openid_connect_login", kwargs={"provider_id": offered.public_id}) if offered else ""
        query = urlencode({"login_hint": email, "next": safe_next(self.request)})
        return self._show(
            "account/login.html", form, email=email, provider=offered, provider_url=f"{way}?{query}" if way else ""
        )

    def _show(self, template: str, form: Any, **context: Any) -> HttpResponse:
        whole = {"form": form, "next": safe_next(self.request), "recovery": self._recovers(), **context}
        return render(self.request, template, whole)


class LogoutView(AllauthLogoutView):  # type: ignore[misc]
    """Signs out here, and at the identity provider too if it can be asked to."""

    def post(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """End the session and go on."""
        facts = self.request.session.get(SIGNED_IN_BY) or {}
        answer: HttpResponse = super().post(*args, **kwargs)
        url = _sign_out_url(facts)
        return render(self.request, "identity/signed_out.html", {"url": url}) if url else answer


def _sign_out_url(facts: dict[str, Any]) -> str:
    """Return where the provider ends its own session (OpenID Connect RP-Initiated Logout 1.0), if it says where."""
    end_session = str(facts.get("end_session") or "")
    if not end_session:
        return ""
    try:
        require_secure(end_session)
        id_token = unseal(str(facts["id_token"]), ID_TOKEN_PURPOSE)
    except (AddressRefused, HeadwaterError, KeyError):
        return ""
    query = urlencode({"id_token_hint": id_token, "post_logout_redirect_uri": absolute(reverse("account_login"))})
    return f"{end_session}{'&' if '?' in end_session else '?'}{query}"


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One session as its owner sees it."""

    id: int
    browser: str
    ip: str
    signed_in_at: datetime
    last_seen_at: datetime
    is_this: bool


@never_cache
@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    """Show where somebody is signed in, and end one session or all others."""
    mine = UserSession.objects.purge_and_list(request.user)
    if request.method == "POST":
        return _end(request, mine)
    lines = [
        SessionLine(one.pk, describe(one.user_agent), one.ip, one.created_at, one.last_seen_at, _is_this(request, one))
        for one in sorted(mine, key=lambda one: (not _is_this(request, one), -one.last_seen_at.timestamp()))
    ]
    return render(request, "usersessions/usersession_list.html", {"sessions": lines})


def _end(request: HttpRequest, mine: list[UserSession]) -> HttpResponse:
    wanted = request.POST.get("session", "")
    chosen = [one for one in mine if not _is_this(request, one) and wanted in (str(one.pk), "others")]
    if not chosen and wanted != "others":
        raise Http404
    end_sessions(actor=actor_for_user(request.user), user=signed_in(request), sessions=chosen)
    messages.success(request, f"Signed out of {len(chosen)} other browser{'' if len(chosen) == 1 else 's'}.")
    return redirect("usersessions_list")


def _is_this(request: HttpRequest, session: UserSession) -> bool:
    return bool(session.session_key == request.session.session_key)


def too_many(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to somebody who asks too often, if they do."""
    answer: HttpResponse | None = ratelimit.consume_or_429(request, action="signup")
    return answer
