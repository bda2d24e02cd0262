"""The pages around accounts that this installation offers: some of allauth's, some in place of them."""

from __future__ import annotations

from typing import Final

from allauth.account import urls as account_urls
from allauth.account.internal.decorators import login_not_required
from allauth.mfa import urls as mfa_urls
from allauth.socialaccount import views as social
from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path

from headwater.control.identity.invitation_views import invitation
from headwater.control.identity.views import LoginView, LogoutView, sessions
from headwater.control.sso.provider import OrganizationAdapter

OFFERED: Final = frozenset(
    {
        "account_inactive",
        "account_reauthenticate",
        "account_signup",
        "account_email_verification_sent",
        "account_confirm_email",
        "account_change_password",
        "account_set_password",
        "account_reset_password",
        "account_reset_password_done",
        "account_reset_password_from_key",
        "account_reset_password_from_key_done",
    }
)


@login_not_required  # type: ignore[untyped-decorator]
def to_issuer(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send the browser to an organisation's identity provider."""
    return _through(OAuth2LoginView, request, provider_id)


@login_not_required  # type: ignore[untyped-decorator]
def from_issuer(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Take the answer of an organisation's identity provider."""
    return _through(OAuth2CallbackView, request, provider_id)


def _through(view: type[OAuth2LoginView | OAuth2CallbackView], request: HttpRequest, provider_id: str) -> HttpResponse:
    try:
        response: HttpResponse = view.adapter_view(OrganizationAdapter(request, provider_id))(request)
    except SocialApp.DoesNotExist as error:
        raise Http404 from error
    return response


urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", LoginView.as_view(), name="account_login"),
    path("logout/", LogoutView.as_view(), name="account_logout"),
    path("sessions/", sessions, name="usersessions_list"),
    path("invitations/<str:token>/", invitation, name="invitation"),
    path("oidc/<str:provider_id>/login/", to_issuer, name="openid_connect_login"),
    path("oidc/<str:provider_id>/login/callback/", from_issuer, name="openid_connect_callback"),
    path("connections/", social.connections, name="socialaccount_connections"),
    path("connections/cancelled/", social.login_cancelled, name="socialaccount_login_cancelled"),
    path("connections/error/", social.login_error, name="socialaccount_login_error"),
    path("2fa/", include(mfa_urls)),
    *(pattern for pattern in account_urls.urlpatterns if pattern.name in OFFERED),
]
