"""Where keys are used from, and when they last were."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.http import HttpRequest
from django.utils import timezone

from headwater.control import configuration
from headwater.control.access.models import ApiKey, KeyUse
from headwater.core.addresses import client_address, is_within, read_networks
from headwater.core.errors import HeadwaterError

NOTED_EVERY: Final = timedelta(minutes=1)


def require_place(key: ApiKey, request: HttpRequest) -> None:
    """Raise ``forbidden`` when ``key`` may not be used from where ``request`` comes from."""
    if not key.cidrs:
        return
    forwarded = request.headers.get("X-Forwarded-For")
    proxies = read_networks(configuration.current().control.trusted_proxies)
    address = client_address(request.META.get("REMOTE_ADDR"), [forwarded] if forwarded else [], proxies)
    if not is_within(address, read_networks(tuple(key.cidrs))):
        raise HeadwaterError(
            "forbidden",
            f"the key hw_{key.key_prefix}_… may not be used from {address or 'an unknown address'}",
            hint="its networks are those of the key; behind a proxy, set control.trusted_proxies",
        )


def note_use(key: ApiKey) -> None:
    """Note that ``key`` was used now; once a minute is enough."""
    now, last = timezone.now(), key.last_used_at
    if last is None or now - last >= NOTED_EVERY:
        note_uses({key.pk: now})


def note_uses(uses: Mapping[uuid.UUID, datetime]) -> None:
    """Note when keys were last used, by primary key; an earlier use than the one known changes nothing."""
    known = {use.key_id: use.last_used_at for use in KeyUse.objects.filter(key__in=list(uses))}
    for pk in _existing(uses):
        if pk not in known or known[pk] < uses[pk]:
            KeyUse.objects.update_or_create(key_id=pk, defaults={"last_used_at": uses[pk]})


def _existing(keys: Iterable[uuid.UUID]) -> Iterable[uuid.UUID]:
    return ApiKey.unscoped.filter(pk__in=list(keys)).values_list("pk", flat=True)
