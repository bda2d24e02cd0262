"""Sign-ins that failed: audited, but never more than a row a minute for each account, however often somebody tries.

The first failure is a row at once. Those that follow within the minute are counted, and the next row has their number:
that of the next failure, or of the regular task that reports what was left. Tries at accounts that do not exist share
one count, and what was typed is not kept: it may well be a password in the wrong field.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from headwater.control.identity.actions import record_failed_logins
from headwater.control.identity.models import FailedLogins, User
from headwater.control.kit.actions import SYSTEM
from headwater.control.kit.requests import current_request
from headwater.core.ids import parse_id

WINDOW: Final = timedelta(minutes=1)
KEPT: Final = timedelta(days=1)
_MOST_ADDRESSES: Final = 10


def on_login_failed(credentials: dict[str, Any], **_: Any) -> None:
    """Note a failure; Django's signal ``user_login_failed`` calls this."""
    email = str(credentials.get("email") or credentials.get("username") or "")
    note_failure(User.objects.filter(email=email.strip().lower()).first())


def note_failure(user: User | None) -> None:
    """Note that somebody failed to sign in as ``user``, or as nobody we know."""
    now = timezone.now()
    with transaction.atomic():
        tally, is_new = FailedLogins.objects.select_for_update().get_or_create(
            account=user.public_id if user else FailedLogins.UNKNOWN
        )
        tally.count += 1
        address = current_request().ip
        if address not in tally.addresses and len(tally.addresses) < _MOST_ADDRESSES:
            tally.addresses = [*tally.addresses, address]
        if is_new or tally.reported_at <= now - WINDOW:
            _report(tally, user)
        tally.save()


def report_failures() -> int:
    """Report what was counted and not reported within its minute; return how many rows that made."""
    now = timezone.now()
    reported = 0
    with transaction.atomic():
        for tally in FailedLogins.objects.select_for_update().filter(count__gt=0, reported_at__lte=now - WINDOW):
            _report(tally, _user_of(tally))
            tally.save()
            reported += 1
        FailedLogins.objects.filter(count=0, reported_at__lte=now - KEPT).delete()
    return reported


def _user_of(tally: FailedLogins) -> User | None:
    if tally.account == FailedLogins.UNKNOWN:
        return None
    return User.objects.filter(pk=parse_id(User.prefix, tally.account)).first()


def _report(tally: FailedLogins, user: User | None) -> None:
    record_failed_logins(actor=SYSTEM, about=user or tally, failures=tally.count, addresses=tally.addresses)
    tally.count, tally.addresses, tally.reported_at = 0, [], timezone.now()
