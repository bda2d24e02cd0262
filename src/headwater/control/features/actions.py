"""Changes to feature views."""

from __future__ import annotations

from typing import Any

from django.db.models import Max
from django.utils import timezone

from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.models import Dataset
from headwater.control.features.models import FeatureView, FeatureViewRevision
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


@action("features.view.published", permission="feature.write", on="environment")
def publish_view(*, actor: Actor, environment: Environment, spec: dict[str, Any], source: str) -> FeatureViewRevision:
    """Put ``spec`` in force from now on, as a new revision unless the newest one says the same.

    Args:
        actor: who publishes.
        environment: where it is read.
        spec: the members of ``FeatureViewSpec`` but id and revision, checked by the caller.
        source: the file as it was written.

    Raises:
        HeadwaterError: ``dataset_not_found`` when the project has no such dataset.
    """
    name, description = str(spec["name"]), str(spec.get("description", ""))
    datasets = Dataset.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    dataset = datasets.filter(name=spec["dataset"]).first()
    if dataset is None:
        raise HeadwaterError("dataset_not_found", f"there is no dataset {spec['dataset']!r}")
    view = FeatureView.objects.for_org(environment.org_id).filter(environment=environment, name=name).first()
    if view is None:
        view = FeatureView(
            org_id=environment.org_id, environment=environment, dataset=dataset, name=name, description=description
        )
        view.save()
    else:
        view.change(dataset=dataset, description=description, archived_at=None)
    digest, newest = sha256_of(spec), view.newest
    if newest is not None and newest.spec_sha256 == digest:
        return newest
    revisions = FeatureViewRevision.objects.for_org(environment.org_id).filter(view=view)
    revision = FeatureViewRevision(
        org_id=environment.org_id,
        view=view,
        number=int(revisions.aggregate(newest=Max("number"))["newest"] or 0) + 1,
        spec=spec,
        spec_sha256=digest,
        source=source,
    )
    revision.save()
    return revision


@action("features.view.archived", permission="feature.write", on="view")
def archive_view(*, actor: Actor, view: FeatureView, reason: str = "") -> FeatureView:
    """Stop serving a view; its revisions stay."""
    if view.archived_at is None:
        view.change(archived_at=timezone.now())
    return view
