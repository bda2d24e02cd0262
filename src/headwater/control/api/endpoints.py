"""SQL endpoints and their revisions. They are published by applying a project."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Query, Router

from headwater.control.api.auth import caller_of
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import ChangeIn, EndpointOut, RevisionOut
from headwater.control.catalog.actions import archive_endpoint
from headwater.control.catalog.models import Endpoint, EndpointRevision

router = Router(tags=["Endpoints"])
Paging = Annotated[PageQuery, Query(...)]
ENDPOINTS = "/{org}/projects/{project}/environments/{environment}/endpoints"
ENDPOINT = ENDPOINTS + "/{endpoint}"


@router.get(ENDPOINTS, response=Page[EndpointOut])
def list_endpoints(request: HttpRequest, org: str, project: str, environment: str, page: Paging) -> Page[EndpointOut]:
    """List an environment's endpoints."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("endpoint.read", home)
    return take_page(Endpoint.objects.for_org(home.org_id).filter(environment=home), page, EndpointOut.show)


@router.get(ENDPOINT, response=EndpointOut)
def get_endpoint(request: HttpRequest, org: str, project: str, environment: str, endpoint: str) -> EndpointOut:
    """Show one endpoint."""
    caller = caller_of(request)
    return EndpointOut.show(caller.endpoint(caller.environment(org, project, environment), endpoint))


@router.get(ENDPOINT + "/revisions", response=Page[RevisionOut])
def list_revisions(
    request: HttpRequest, org: str, project: str, environment: str, endpoint: str, page: Paging
) -> Page[RevisionOut]:
    """List an endpoint's revisions, newest first; the first is the one served."""
    caller = caller_of(request)
    row = caller.endpoint(caller.environment(org, project, environment), endpoint)
    rows = EndpointRevision.objects.for_org(row.org_id).filter(endpoint=row)
    return take_page(rows, page, RevisionOut.show, newest_first=True)


@router.post(ENDPOINT + "/archive", response=EndpointOut)
def post_archive(
    request: HttpRequest, org: str, project: str, environment: str, endpoint: str, body: ChangeIn
) -> EndpointOut:
    """Stop serving an endpoint."""
    caller = caller_of(request)
    row = caller.endpoint(caller.environment(org, project, environment), endpoint)
    check_revision(request, row, body.revision)
    return EndpointOut.show(archive_endpoint(actor=caller.actor, endpoint=row, reason=body.reason))
