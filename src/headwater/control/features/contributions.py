"""What feature views put into the snapshot of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.control.features.models import FeatureView, FeatureViewRevision
from headwater.control.kit.contributions import EnvironmentRef, contribute


def contribute_features(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return the newest revision of every view that is not archived, as plain data: the compiler judges each."""
    revisions = (
        FeatureViewRevision.objects.for_org(environment.org_id)
        .filter(view__environment_id=environment.id, view__archived_at=None)
        .select_related("view")
        .order_by("view_id", "number")
    )
    newest = {revision.view.name: revision for revision in revisions}
    return {
        name: revision.spec | {"id": revision.view.public_id, "name": name, "revision": revision.number}
        for name, revision in newest.items()
    }


contribute("features", contribute_features, models=(FeatureView, FeatureViewRevision))
