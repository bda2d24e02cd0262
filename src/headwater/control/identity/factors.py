"""How allauth treats authenticators: secrets encrypted at rest, and kept while an organisation asks for them."""

from __future__ import annotations

from typing import Any, Final

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator

from headwater.control.kit.sealing import seal, unseal
from headwater.control.sso.rules import mfa_required_by

_PURPOSE: Final = "second factor"


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """TOTP and recovery codes."""

    def encrypt(self, text: str) -> str:
        """Return a secret as the database keeps it."""
        return seal(text, _PURPOSE)

    def decrypt(self, encrypted_text: str) -> str:
        """Return a secret as it is used."""
        return unseal(encrypted_text, _PURPOSE)

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Return whether nobody asks its owner for a second factor."""
        return not mfa_required_by(authenticator.user)

    def get_totp_label(self, user: Any) -> str:
        """Return what an authenticator app shows under our name."""
        return str(user.email)
