"""Feature views and their revisions. They are published by applying a project."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router, Schema

from headwater.control.api.auth import caller_of
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import ChangeIn
from headwater.control.features.actions import archive_view
from headwater.control.features.models import FeatureView, FeatureViewRevision

router = Router(tags=["Features"])
Paging = Annotated[PageQuery, Query(...)]
VIEWS = "/{org}/projects/{project}/environments/{environment}/features"
VIEW = VIEWS + "/{view}"


class FeatureViewOut(Schema):
    """A feature view and the dataset that it is computed from."""

    id: str
    name: str
    description: str
    dataset: str
    archived_at: datetime | None
    revision: int

    @classmethod
    def show(cls, row: FeatureView) -> FeatureViewOut:
        """Return what the API says about ``row``."""
        return cls(
            id=row.public_id, name=row.name, description=row.description, dataset=row.dataset.name,
            archived_at=row.archived_at, revision=row.revision,
        )  # fmt: skip


class FeatureViewRevisionOut(Schema):
    """A sealed revision of a feature view."""

    number: int
    sha256: str
    created_at: datetime
    source: str
    spec: dict[str, Any]

    @classmethod
    def show(cls, row: FeatureViewRevision) -> FeatureViewRevisionOut:
        """Return what the API says about ``row``."""
        return cls(
            number=row.number, sha256=row.spec_sha256, created_at=row.created_at, source=row.source, spec=row.spec
        )


@router.get(VIEWS, response=Page[FeatureViewOut])
def list_views(request: HttpRequest, org: str, project: str, environment: str, page: Paging) -> Page[FeatureViewOut]:
    """List an environment's feature views."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("feature.read", home)
    rows = FeatureView.objects.for_org(home.org_id).filter(environment=home).select_related("dataset")
    return take_page(rows, page, FeatureViewOut.show)


@router.get(VIEW, response=FeatureViewOut)
def get_view(request: HttpRequest, org: str, project: str, environment: str, view: str) -> FeatureViewOut:
    """Show one feature view."""
    caller = caller_of(request)
    return FeatureViewOut.show(caller.feature_view(caller.environment(org, project, environment), view))


@router.get(VIEW + "/revisions", response=Page[FeatureViewRevisionOut])
def list_view_revisions(
    request: HttpRequest, org: str, project: str, environment: str, view: str, page: Paging
) -> Page[FeatureViewRevisionOut]:
    """List a view's revisions, newest first; the first is the one in force."""
    caller = caller_of(request)
    row = caller.feature_view(caller.environment(org, project, environment), view)
    rows = FeatureViewRevision.objects.for_org(row.org_id).filter(view=row)
    return take_page(rows, page, FeatureViewRevisionOut.show, newest_first=True)


@router.post(VIEW + "/archive", response=FeatureViewOut)
def post_archive_view(
    request: HttpRequest, org: str, project: str, environment: str, view: str, body: ChangeIn
) -> FeatureViewOut:
    """Stop serving a feature view."""
    caller = caller_of(request)
    row = caller.feature_view(caller.environment(org, project, environment), view)
    check_revision(request, row, body.revision)
    return FeatureViewOut.show(archive_view(actor=caller.actor, view=row, reason=body.reason))
