"""The pages of allauth that this installation offers: people are invited, so there is nothing to sign up or verify."""

from __future__ import annotations

from typing import Final

from allauth.account import urls as allauth_urls
from django.urls import URLPattern

OFFERED: Final = frozenset(
    {
        "account_login",
        "account_logout",
        "account_inactive",
        "account_reauthenticate",
        "account_signup",  # says that signing up is closed; the login page names it
        "account_change_password",
        "account_set_password",
        "account_reset_password",
        "account_reset_password_done",
        "account_reset_password_from_key",
        "account_reset_password_from_key_done",
    }
)

urlpatterns: list[URLPattern] = [pattern for pattern in allauth_urls.urlpatterns if pattern.name in OFFERED]
