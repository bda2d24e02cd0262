"""Applying project directories, and the artifacts that are put before."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import HttpRequest
from ninja import Router, Schema

from headwater.control import configuration
from headwater.control.api.artifacts import require_model_writer
from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.catalog.payload import ApplyRequest, Outcome
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.engines.blobs import open_blobs

router = Router(tags=["Projects"])
_CHUNK_BYTES: Final = 1 << 20
_EXAMPLE: Final = {
    "content": {
        "application/json": {
            "example": {
                "project": "flights",
                "environment": "development",
                "dry_run": True,
                "resources": {
                    "endpoints": [{"source": "endpoints/carriers.sql", "text": "SELECT DISTINCT carrier FROM flights"}]
                },
            }
        }
    }
}


class ArtifactOut(Schema):
    """A stored artifact."""

    sha256: str
    size: int


@router.post("/apply", response=Outcome, openapi_extra={"requestBody": _EXAMPLE})
def post_apply(request: HttpRequest, body: ApplyRequest) -> Outcome:
    """Change an environment to what a project directory declares, all or nothing; `dry_run` only says what would be.

    Resources that the directory no longer has are left alone and mentioned.
    """
    # Reading a project loads Arrow and DuckDB, which an idle control process should not hold.
    from headwater.control.catalog.apply import apply_project, plan_project  # noqa: PLC0415

    caller = caller_of(request)
    environment = _environment(caller, body)
    act = plan_project if body.dry_run else apply_project
    return act(actor=caller.actor, environment=environment, resources=body.resources)


@router.get("/artifacts/{sha256}", response=ArtifactOut)
def get_artifact(request: HttpRequest, sha256: str) -> ArtifactOut:
    """Say whether an artifact is stored, so that it need not be sent again; 404 where it is not."""
    require_model_writer(caller_of(request))
    blobs = open_blobs(configuration.current())
    if not blobs.has(sha256):
        raise HeadwaterError("not_found", f"no artifact {sha256} is stored")
    return ArtifactOut(sha256=sha256, size=blobs.path(sha256).stat().st_size)


@router.put("/artifacts/{sha256}", response=ArtifactOut)
def put_artifact(request: HttpRequest, sha256: str) -> ArtifactOut:
    """Store an artifact under its digest. The body is the file itself; putting it again changes nothing."""
    require_model_writer(caller_of(request))
    size = 0
    with tempfile.NamedTemporaryFile(prefix="headwater-artifact-") as file:
        while chunk := request.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > settings.MAX_ARTIFACT_BYTES:
                limit = settings.MAX_ARTIFACT_BYTES >> 20
                raise HeadwaterError("payload_too_large", f"an artifact has at most {limit} MiB")
            file.write(chunk)
        file.flush()
        if not size:
            raise HeadwaterError("empty_body")
        open_blobs(configuration.current()).put_file(Path(file.name), expected=sha256)
    return ArtifactOut(sha256=sha256, size=size)


def _environment(caller: Caller, body: ApplyRequest) -> Environment:
    """Return the environment that an apply names; without an organisation, the one the caller has."""
    if body.organization is not None:
        return caller.environment(body.organization, body.project, body.environment)
    slugs = list(caller.organizations().values_list("slug", flat=True)[:2])
    if len(slugs) != 1:
        raise HeadwaterError(
            "invalid_parameter", "you belong to several organisations or to none", hint="name the `organization`"
        )
    return caller.environment(slugs[0], body.project, body.environment)
