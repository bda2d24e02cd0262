"""Finds and closes API keys in the control database, as the owner of the home may."""

from __future__ import annotations

from typing import Any

from headwater.control.bootstrap import prepare
from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings


def list_keys(settings: Settings) -> list[dict[str, Any]]:
    """Return the keys of the target environment, the newest first, without their secrets."""
    return [_describe(key) for key in _keys(settings)]


def revoke(settings: Settings, wanted: str, reason: str) -> dict[str, Any]:
    """Revoke a key, named by its id, its prefix or its text, and return it.

    Raises:
        HeadwaterError: ``not_found``.
    """
    prefix = wanted.split("_")[1] if wanted.startswith("hw_") else wanted
    for key in _keys(settings):
        if wanted == key.public_id or prefix == key.key_prefix:
            from headwater.control.access.actions import revoke_key  # noqa: PLC0415 - models need Django
            from headwater.control.kit.actions import SYSTEM  # noqa: PLC0415

            return _describe(revoke_key(actor=SYSTEM, key=key, reason=reason))
    raise HeadwaterError("not_found", f"there is no key {wanted[:40]!r}", hint="`headwater keys list` shows them")


def _keys(settings: Settings) -> list[Any]:
    prepare(settings)
    from headwater.control.access.models import ApiKey  # noqa: PLC0415 - models need Django to be set up
    from headwater.control.access.queries import get_environment  # noqa: PLC0415

    target = settings.target
    environment = get_environment(target.organization, target.project, target.environment)
    rows = ApiKey.objects.for_org(environment.org).filter(environment=environment)
    return list(rows.select_related("service_account", "user"))


def _describe(key: Any) -> dict[str, Any]:
    from django.utils import timezone  # noqa: PLC0415

    principal = key.service_account.name if key.service_account is not None else key.user.email
    state = "live" if key.is_live(timezone.now()) else "revoked" if key.revoked_at else "expired"
    return {
        "id": key.public_id,
        "prefix": key.key_prefix,
        "name": key.name,
        "principal": principal,
        "scopes": key.scopes,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
        "state": state,
    }
