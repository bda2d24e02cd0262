"""What allauth does to accounts by itself, written down: its signals become actions.

For authenticators the signals of the table are used: they come inside the transaction, allauth's own after it, when a
crash would leave a change that nobody wrote down.
"""

from __future__ import annotations

from typing import Any

from allauth.account.signals import email_confirmed
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authentication_failed
from allauth.socialaccount.signals import social_account_removed
from django.contrib.auth.signals import user_login_failed
from django.db.models.signals import post_delete, post_save

from headwater.control.access.queries import actor_for_user
from headwater.control.identity.actions import (
    record_factor_added,
    record_factor_removed,
    record_unlinked,
    record_verified,
)
from headwater.control.identity.failures import note_failure, on_login_failed
from headwater.control.identity.joining import join_by_domain
from headwater.control.identity.models import User


def connect() -> None:
    """Listen."""
    for signal, receiver in (
        (user_login_failed, on_login_failed),
        (email_confirmed, _on_email_confirmed),
        (authentication_failed, _on_factor_failed),
        (social_account_removed, _on_account_removed),
    ):
        signal.connect(receiver, dispatch_uid=f"headwater.identity.{receiver.__name__}")
    post_save.connect(_on_factor_saved, sender=Authenticator, dispatch_uid="headwater.identity.factor_saved")
    post_delete.connect(_on_factor_removed, sender=Authenticator, dispatch_uid="headwater.identity.factor_removed")


def _on_email_confirmed(email_address: Any, **_: Any) -> None:
    user = User.objects.get(pk=email_address.user_id)
    record_verified(actor=actor_for_user(user), user=user, email=email_address.email)
    if user.email == email_address.email:
        join_by_domain(user)


def _on_factor_saved(instance: Authenticator, created: bool, **_: Any) -> None:
    if created:
        user = User.objects.get(pk=instance.user_id)
        record_factor_added(actor=actor_for_user(user), user=user, kind=str(instance.type))


def _on_factor_removed(instance: Authenticator, **_: Any) -> None:
    user = User.objects.get(pk=instance.user_id)
    record_factor_removed(actor=actor_for_user(user), user=user, kind=str(instance.type))


def _on_factor_failed(user: User, **_: Any) -> None:
    note_failure(user)


def _on_account_removed(socialaccount: Any, **_: Any) -> None:
    user = User.objects.get(pk=socialaccount.user_id)
    record_unlinked(actor=actor_for_user(user), user=user, provider=socialaccount.provider)
