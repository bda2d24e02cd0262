"""The query service: typed SQL endpoints, and ad-hoc SQL for those who may."""

from __future__ import annotations

from headwater.services.kit.service import Runtime
from headwater.services.query.service import QueryService


def create(runtime: Runtime) -> QueryService:
    """Return the query service of a process."""
    return QueryService(runtime)
