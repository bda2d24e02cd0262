"""How allauth treats our users: who may come in and how is asked here, whichever page they came by."""

from __future__ import annotations

from smtplib import SMTPException
from typing import Any, Final

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.stagekit import clear_login
from allauth.core.exceptions import ImmediateHttpResponse
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from headwater.control import configuration
from headwater.control.access.queries import actor_for_user
from headwater.control.identity.actions import (
    change_own_password,
    record_lock_out,
    record_login,
    record_recovery,
    sign_up,
)
from headwater.control.identity.mail import absolute, ours
from headwater.control.identity.models import User
from headwater.control.identity.pages import to_provider
from headwater.control.kit.actions import SYSTEM
from headwater.control.sso.models import Domain
from headwater.control.sso.rules import barred_from, came_through, enforced_provider, verified_domain
from headwater.core.logging import get_logger

_log: Final = get_logger(__name__)
_LINKS: Final = ("signup_url", "password_reset_url", "activate_url")


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """People are invited, or come from a domain that lets them in. What they do to their accounts is audited."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 - allauth's signature
        """Return whether anybody could make an account by themselves; the form asks who."""
        if configuration.current().identity.open_signup:
            return True
        return bool(Domain.unscoped.filter(auto_join=True, verified_at__isnull=False).exists())

    def clean_signup_email(self, email: str) -> str:
        """Return an address that may sign up, or refuse it."""
        provider = enforced_provider(email)
        if provider is not None:
            raise ValidationError(f"{provider.org.name} signs you in through {provider.name}: use Sign in instead.")
        domain = verified_domain(email)
        if not configuration.current().identity.open_signup and (domain is None or not domain.auto_join):
            raise ValidationError("Accounts are made by invitation. Ask an owner of your organisation for one.")
        return email

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """Keep somebody who signed up; the form has checked address and password."""
        super().save_user(request, user, form, commit=False)
        return sign_up(actor=SYSTEM, user=user) if commit else user

    def set_password(self, user: User, password: str) -> None:
        """Change a password that its owner asked to change or to reset."""
        change_own_password(actor=actor_for_user(user), user=user, password=password)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Refuse to look at a password when too many were wrong, and note whose account that locks."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            email = str(credentials.get("email", "")).strip().lower()
            user = User.objects.filter(email=email).first()
            if user is not None:
                record_lock_out(actor=SYSTEM, user=user)
            raise

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        """Stop who must come another way, before anything else is asked of them."""
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        if response is None:
            self._check_way_in(request, user)
        return response

    def login(self, request: HttpRequest, user: User) -> Any:
        """Log somebody in and note it. Every way in ends here, so the rules are asked here once more."""
        self._check_way_in(request, user)
        records = get_authentication_records(request, user)
        super().login(request, user)
        record_login(actor=actor_for_user(user), user=user)
        provider = enforced_provider(user.email)
        if provider is not None and not came_through(provider, records):
            record_recovery(actor=actor_for_user(user), user=user, around=provider)

    def _check_way_in(self, request: HttpRequest, user: User) -> None:
        provider = barred_from(user, get_authentication_records(request, user))
        if provider is not None:
            clear_login(request)
            raise ImmediateHttpResponse(to_provider(request, provider, user.email))

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the link of a reset mail, under our own address."""
        return ours(super().get_reset_password_from_key_url(key))

    def get_logout_redirect_url(self, request: HttpRequest) -> str:  # noqa: ARG002 - allauth's signature
        """Return to the sign-in page."""
        return reverse("account_login")

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Send one of allauth's mails. A mail server that is away must not tell who has an account: it is logged."""
        links = {name: ours(context[name]) for name in _LINKS if name in context}
        try:
            super().send_mail(template_prefix, email, context | links | {"home_url": absolute("/")})
        except (SMTPException, OSError) as error:
            _log.error("mail_failed", template=template_prefix, error=str(error))
