"""How allauth treats identity providers: each organisation's own, found by its id and never listed."""

from __future__ import annotations

from typing import Any, Final

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.shortcuts import render

from headwater.control.identity.joining import admit
from headwater.control.kit.sealing import seal
from headwater.control.sso.fetching import GuardedSession
from headwater.control.sso.models import IdentityProvider
from headwater.control.sso.provider import SIGNED_IN_BY, as_social_app
from headwater.control.sso.rules import enforced_provider
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

_log: Final = get_logger(__name__)
ID_TOKEN_PURPOSE: Final = "ID token"  # noqa: S105 - a purpose, not a secret


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Organisations' identity providers."""

    def list_apps(
        self,
        request: HttpRequest,  # noqa: ARG002 - allauth's signature
        provider: str | None = None,
        client_id: str | None = None,  # noqa: ARG002
    ) -> list[SocialApp]:
        """Return the one provider that an id names."""
        row = find_provider(provider or "")
        return [] if row is None else [as_social_app(row)]

    def get_requests_session(self) -> GuardedSession:
        """Return a session that reaches public addresses alone."""
        return GuardedSession()

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Let in whom the provider may speak for, and nobody else."""
        claims = sociallogin.claims
        provider = sociallogin.provider.app.row
        try:
            user, account = admit(
                provider=provider,
                subject=sociallogin.account.uid,
                email=str(claims.get("email") or ""),
                email_verified=claims.get("email_verified"),
                name=str(claims.get("name") or ""),
            )
        except HeadwaterError as error:
            _log.warning("sign_in_refused", provider=sociallogin.account.provider, reason=error.detail)
            page = render(request, "identity/refused.html", {"error": error, "provider": provider}, status=403)
            raise ImmediateHttpResponse(page) from error
        sociallogin.user, sociallogin.account = user, account
        # Whoever was signed in here before leaves first, so that nothing of theirs stays in the session.
        if request.user.is_authenticated:
            get_account_adapter(request).logout(request)
        facts = sociallogin.session_facts
        request.session[SIGNED_IN_BY] = facts | {
            "user": str(user.pk), "id_token": seal(facts["id_token"], ID_TOKEN_PURPOSE)
        }  # fmt: skip

    def validate_disconnect(self, account: SocialAccount, accounts: Any) -> None:  # noqa: ARG002
        """Refuse to part somebody from the only way in that they have."""
        if enforced_provider(account.user.email) is not None:
            raise ValidationError("Your organisation signs you in this way.")

    def on_authentication_error(
        self,
        request: HttpRequest,  # noqa: ARG002 - allauth's signature
        provider: Any,
        error: Any = None,
        exception: Any = None,
        extra_context: Any = None,  # noqa: ARG002
    ) -> None:
        """Log why a sign-in failed at the provider; the page says only that it did."""
        _log.warning(
            "sign_in_failed", provider=getattr(provider, "sub_id", ""), error=str(error), reason=str(exception)
        )


def find_provider(public_id: str) -> IdentityProvider | None:
    """Return the enabled provider with this id."""
    try:
        key = IdentityProvider.parse_id(public_id)
    except HeadwaterError:
        return None
    found: IdentityProvider | None = (
        IdentityProvider.unscoped.filter(pk=key, enabled=True).select_related("org", "default_role").first()
    )
    return found
