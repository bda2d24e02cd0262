"""The registry's regular task."""

from __future__ import annotations

from celery import shared_task

from headwater.control.catalog.data_plane import connect
from headwater.control.orgs.models import Environment
from headwater.control.registry.watch import take_back
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

_log = get_logger(__name__)


@shared_task(name="registry.watch_deployments")
def watch_deployments() -> int:
    """Take back, for good, what the data plane stopped routing to; return how many versions.

    The data plane has sent the traffic elsewhere already: a run that is late, or fails, loses nothing.
    """
    taken = 0
    try:
        with connect() as services:
            for environment in Environment.unscoped.select_related("project", "org"):
                try:
                    health = services.model_health(environment.public_id)
                except HeadwaterError as error:
                    if error.code == "services_unavailable":
                        raise
                    # The services do not serve this environment yet, or not any more.
                    continue
                taken += take_back(environment, health)
    except HeadwaterError as error:
        _log.debug("deployments_not_watched", problem=error.detail)
    return taken
