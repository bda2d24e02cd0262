"""Our OpenID Connect provider for allauth: each organisation's own, its tokens always checked.

What allauth leaves out is here: a nonce, a signature that is checked even when the token came straight from the
issuer, and parameters that only we decide. Every request to an issuer goes through ``fetching``.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any, Final

from allauth.socialaccount.models import SocialApp
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest

from headwater.control.kit.sealing import unseal
from headwater.control.sso.fetching import discover
from headwater.control.sso.models import IdentityProvider
from headwater.control.sso.tokens import TokenRefused, believe
from headwater.core.errors import HeadwaterError

SECRET_PURPOSE: Final = "identity provider's client secret"  # noqa: S105 - a purpose, not a secret
NONCES: Final = "headwater_oidc_nonces"
SIGNED_IN_BY: Final = "headwater_oidc"
_MOST_NONCES: Final = 10


class OrganizationAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Talks to one organisation's issuer."""

    @property
    def openid_config(self) -> dict[str, Any]:
        """Return the issuer's description of itself, checked; asked for once a request."""
        if not hasattr(self, "_openid_config"):
            try:
                self._openid_config = discover(self.get_provider().app.settings["server_url"])
            except HeadwaterError as error:
                raise OAuth2Error(error.detail) from error
        return self._openid_config

    def complete_login(self, request: HttpRequest, app: SocialApp, token: Any, **kwargs: Any) -> Any:
        """Return who the issuer says signed in; what we do not believe raises ``OAuth2Error``."""
        id_token = kwargs["response"].get("id_token")
        if not isinstance(id_token, str):
            raise OAuth2Error("the issuer sent no ID token")
        nonce = request.session.get(NONCES, {}).pop(request.GET.get("state", ""), "")
        request.session.modified = True
        try:
            claims = believe(
                id_token,
                keys_url=self.openid_config["jwks_uri"],
                issuer=self.openid_config["issuer"],
                client_id=app.client_id,
                nonce=nonce,
            )
        except TokenRefused as error:
            raise OAuth2Error(str(error)) from error
        claims |= self._more_about(claims, token.token)
        login = self.get_provider().sociallogin_from_response(request, {"id_token": claims})
        login.claims = claims
        login.session_facts = {
            "provider": app.provider_id,
            "id_token": id_token,
            "end_session": self.openid_config.get("end_session_endpoint") or "",
            "methods": [str(method) for method in claims.get("amr") or []][:10],
        }
        return login

    def _more_about(self, claims: dict[str, Any], access_token: str) -> dict[str, Any]:
        """Return the e-mail claims that the issuer keeps for its userinfo endpoint, if about the same subject."""
        if "email" in claims or not self.openid_config.get("userinfo_endpoint"):
            return {}
        told = self._fetch_user_info(access_token)
        if not hmac.compare_digest(str(told.get("sub", "")), str(claims["sub"])):
            raise OAuth2Error("the issuer's userinfo is about somebody else")
        return {name: told[name] for name in ("email", "email_verified", "name") if name in told}


class OrganizationProvider(OpenIDConnectProvider):  # type: ignore[misc]
    """An organisation's issuer as allauth sees it."""

    oauth2_adapter_class = OrganizationAdapter

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Return what the way to the issuer carries: nothing that the address bar could add to it."""
        kwargs: dict[str, Any] = super().get_redirect_from_request_kwargs(request)
        hint = request.GET.get("login_hint", "")[:254]
        return {
            **{name: kwargs[name] for name in ("next_url",) if name in kwargs},
            "process": AuthProcess.LOGIN,
            "scope": self.get_default_scope(),
            "auth_params": {"login_hint": hint} if hint else {},
        }

    def redirect(self, request: HttpRequest, process: str, next_url: str | None = None, **kwargs: Any) -> Any:
        """Send the browser to the issuer with a nonce of its own."""
        nonce = secrets.token_urlsafe(24)
        params = dict(kwargs.pop("auth_params", None) or {}) | {"nonce": nonce}
        self._nonce = nonce
        return super().redirect(request, process, next_url, auth_params=params, **kwargs)

    def stash_redirect_state(self, request: HttpRequest, *args: Any, **kwargs: Any) -> str:
        """Remember the nonce under the state that comes back with the answer."""
        state_id: str = super().stash_redirect_state(request, *args, **kwargs)
        nonces = dict(list(request.session.get(NONCES, {}).items())[1 - _MOST_NONCES :])
        request.session[NONCES] = nonces | {state_id: self._nonce}
        return state_id

    def serialize(self) -> dict[str, Any]:
        """Return what finds this provider again: its own id, for a client id is any organisation's to choose."""
        return {"id": self.app.provider_id}

    def extract_extra_data(self, data: dict[str, Any]) -> dict[str, Any]:
        """Keep of the claims only what tells people which account this is."""
        claims = data["id_token"]
        return {name: str(claims[name])[:254] for name in ("email", "name") if claims.get(name)}


def as_social_app(row: IdentityProvider) -> SocialApp:
    """Return an organisation's provider as allauth wants it, never stored: the secret is readable in memory alone."""
    app = SocialApp(
        provider=OpenIDConnectProvider.id,
        provider_id=row.public_id,
        name=row.name,
        client_id=row.client_id,
        secret=unseal(row.sealed_secret, SECRET_PURPOSE) if row.sealed_secret else "",
        settings={"server_url": row.issuer, "fetch_userinfo": False},
    )
    app.row = row
    return app
