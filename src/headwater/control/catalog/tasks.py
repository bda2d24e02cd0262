"""The catalogue's regular task."""

from __future__ import annotations

from celery import shared_task

from headwater.control.catalog.data_plane import connect
from headwater.control.catalog.quarantine import sync_cases
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

_log = get_logger(__name__)


@shared_task(name="catalog.sync_quarantine")
def sync_quarantine() -> int:
    """Bring quarantine cases up to what the services hold; return how many groups there are."""
    total = 0
    try:
        with connect() as services:
            for environment in Environment.unscoped.select_related("project", "org"):
                try:
                    groups = services.quarantine_groups(environment.public_id)
                except HeadwaterError as error:
                    if error.code == "services_unavailable":
                        raise
                    # The services do not serve this environment yet, or not any more.
                    continue
                sync_cases(environment, groups)
                total += len(groups)
    except HeadwaterError as error:
        _log.warning("quarantine_not_synchronised", problem=error.detail)
    return total
