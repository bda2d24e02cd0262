"""An authenticator app: a second factor for somebody, and the digits it shows."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth

from headwater.control.identity.models import User


def enrol(user: User) -> str:
    """Give ``user`` an authenticator app and recovery codes; return the app's secret."""
    secret: str = auth.generate_totp_secret()
    auth.TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return secret


def code_for(secret: str) -> str:
    """Return the digits that the app shows now."""
    (counter,) = list(auth.yield_hotp_counters_from_time())[:1]
    return str(auth.format_hotp_value(auth.hotp_value(secret, counter)))


def recovery_codes(user: User) -> list[str]:
    """Return the recovery codes that are left to ``user``."""
    row = Authenticator.objects.get(user=user, type=Authenticator.Type.RECOVERY_CODES)
    codes: list[str] = row.wrap().get_unused_codes()
    return codes
