"""How allauth treats our users."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from headwater.control.access.queries import actor_for_user
from headwater.control.identity.actions import change_own_password, record_login
from headwater.control.identity.models import User


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """People are invited; nobody signs up by themselves. What they do to their accounts is audited."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 - allauth's signature
        """Return that signing up is closed."""
        return False

    def set_password(self, user: User, password: str) -> None:
        """Change a password that its owner asked to change or to reset."""
        change_own_password(actor=actor_for_user(user), user=user, password=password)

    def login(self, request: HttpRequest, user: User) -> Any:
        """Log somebody in and note it."""
        super().login(request, user)
        record_login(actor=actor_for_user(user), user=user)
