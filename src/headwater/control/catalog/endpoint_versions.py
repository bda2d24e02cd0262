"""The versions of endpoints and their newest revisions."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import Max, Q

from headwater.control.catalog.models import Endpoint, EndpointRevision
from headwater.control.orgs.models import Environment
from headwater.core.endpoints import endpoint_label


def revisions_of(endpoint: Endpoint, version: int) -> Any:
    """Return the revisions of one version of an endpoint, newest first."""
    # A revision made before there were versions names none.
    condition = Q(spec__version=version) | (Q(spec__version__isnull=True) if version == 1 else Q())
    rows = EndpointRevision.objects.for_org(endpoint.org_id).filter(endpoint=endpoint)
    return rows.filter(condition).order_by("-number")


def newest_by_version(environment: Environment) -> dict[str, dict[int, EndpointRevision]]:
    """Return, by the name of every endpoint that is not archived, the newest revision of each version."""
    return newest_in(environment.org_id, environment.id)


def newest_in(org_id: uuid.UUID, environment_id: uuid.UUID) -> dict[str, dict[int, EndpointRevision]]:
    """Return the same for an environment of which only the identifiers are known. Reads no other revision."""
    rows = EndpointRevision.objects.for_org(org_id).filter(
        endpoint__environment_id=environment_id, endpoint__archived_at=None
    )
    newest = rows.order_by().values("endpoint_id", "spec__version").annotate(newest=Max("number"))
    numbers = {(one["endpoint_id"], one["newest"]) for one in newest}
    wanted = rows.filter(number__in={number for _, number in numbers})
    return by_version(
        revision
        for revision in wanted.select_related("endpoint").defer("source").order_by("endpoint_id", "number")
        if (revision.endpoint_id, revision.number) in numbers
    )


def by_version(revisions: Iterable[EndpointRevision]) -> dict[str, dict[int, EndpointRevision]]:
    """Return the newest of ``revisions``, which come in the order of their numbers, by name and version."""
    versions: dict[str, dict[int, EndpointRevision]] = defaultdict(dict)
    for revision in revisions:
        versions[revision.endpoint.name][revision.version] = revision
    return versions


def leading_version(versions: dict[int, EndpointRevision]) -> int:
    """Return the version that answers to the bare name: the newest without a date of deprecation, else the newest."""
    lasting = [number for number, revision in versions.items() if not revision.spec.get("deprecated_at")]
    return max(lasting or versions)


def by_label(name: str, versions: dict[int, EndpointRevision]) -> dict[str, EndpointRevision]:
    """Return the versions as snapshots call them: the leading one by the bare name, the others as ``daily@1``."""
    first = leading_version(versions)
    return {
        name if number == first else endpoint_label(name, number): revision for number, revision in versions.items()
    }
