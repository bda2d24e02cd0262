"""The documented routes of ingest."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headwater.core.errors import HeadwaterError
from headwater.services.ingest import overview
from headwater.services.ingest.catalog import Dataset, catalog_of, find_dataset
from headwater.services.ingest.intake import Intake
from headwater.services.ingest.kept import Filter, KeptRows
from headwater.services.ingest.openapi import INGEST, VALIDATE
from headwater.services.ingest.reply import to_json
from headwater.services.ingest.resolve import Requester, Resolver
from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.policies import lacking
from headwater.services.kit.request import authenticate, context_of, document_of, read_document
from headwater.services.kit.service import Caller, Runtime
from headwater.services.kit.threads import Threads

Name = Annotated[str, Path(description="The dataset's name", examples=["flights"])]
Fingerprint = Annotated[str | None, Query(description="Only this group", pattern="^[0-9a-f]{16}$")]
Cursor = Annotated[str | None, Query(description="The `next_cursor` of the page before", pattern="^q_[0-9A-Z]{26}$")]


class Resolve(BaseModel):
    """Which refused rows to replay or discard: those of one group, or all that are open with ``all``."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str | None = Field(None, pattern="^[0-9a-f]{16}$", description="The group")
    all: Literal[True] | None = Field(None, description="Every open row of the dataset")


class Access:
    """Who asks, what for, and whether they may."""

    def __init__(self, runtime: Runtime) -> None:
        """Authenticate with the process's runtime."""
        self.runtime = runtime

    def caller(self, request: Request) -> Caller:
        """Return the caller."""
        return authenticate(self.runtime, request.scope)

    def dataset(self, request: Request, name: str, permission: str) -> tuple[Caller, Dataset]:
        """Return the caller and the dataset, which the caller may use so."""
        caller = self.caller(request)
        return caller, find_dataset(caller, name, permission)

    def shows_values(self, caller: Caller, dataset: Dataset) -> bool:
        """Return whether the caller may see refused rows as they came: policies must show them the dataset whole."""
        protected = dataset.spec.protected or dataset.active.contract.protected
        return lacking(caller, dataset.name, self.runtime.clock.now(), protected=protected) is None


def make_router(runtime: Runtime, intake: Intake, kept: Threads, verdicts: Threads) -> APIRouter:
    """Return the public routes; threads of ``kept`` look at refused rows, those of ``verdicts`` rule on them."""
    router = APIRouter(prefix="/v1")
    access = Access(runtime)
    _add_rows(router, intake)
    _add_datasets(router, access)
    _add_receipts(router, access)
    _add_quarantine(router, access, kept)
    _add_verdicts(router, access, verdicts)
    return router


def _add_rows(router: APIRouter, intake: Intake) -> None:
    @router.post("/datasets/{dataset}/rows", tags=["ingest"], operation_id="ingest_rows", **INGEST)
    async def ingest_rows(dataset: Name) -> Response:
        """Send rows. The answer comes once every row is durable, and says what became of each."""
        del dataset  # the handler reads it from the scope, as it does when it is called directly
        return HandlerResponse(intake.ingest)

    @router.post("/datasets/{dataset}/rows/validate", tags=["ingest"], operation_id="validate_rows", **VALIDATE)
    async def validate_rows(dataset: Name) -> Response:
        """Get the verdicts that these rows would get, without storing anything."""
        del dataset
        return HandlerResponse(intake.validate)


def _add_datasets(router: APIRouter, access: Access) -> None:
    @router.get("/datasets", tags=["datasets"], operation_id="list_datasets")
    async def list_datasets(request: Request) -> Response:
        """Return the datasets that the key may read, with counts and freshness."""
        caller = access.caller(request)
        found = [d for name, d in catalog_of(caller).datasets.items() if caller.key.can("dataset.read", name)]
        described = await asyncio.to_thread(overview.describe_datasets, access.runtime, found)
        return _json({"datasets": described})

    @router.get("/datasets/{dataset}", tags=["datasets"], operation_id="get_dataset")
    async def get_dataset(request: Request, dataset: Name) -> Response:
        """Return a dataset: its contract, counts, freshness and table version."""
        _, found = access.dataset(request, dataset, "dataset.read")
        (described,) = await asyncio.to_thread(overview.describe_datasets, access.runtime, [found])
        return _json(described | {"schema": overview.describe_contract(found)})


def _add_receipts(router: APIRouter, access: Access) -> None:
    @router.get("/receipts/{receipt}", tags=["ingest"], operation_id="get_receipt")
    async def get_receipt(request: Request, receipt: Annotated[str, Path(examples=["rcp_01JD2N…"])]) -> Response:
        """Return what became of a request: `durable` once answered, `committed` once no accepted row waits any more."""
        caller = access.caller(request)
        found = await asyncio.to_thread(access.runtime.journal.find_receipt, receipt)
        environment_id, _, name = found.stream.partition("/") if found is not None else ("", "", "")
        may_see = caller.key.can("dataset.read", name) or caller.key.can("dataset.ingest", name)
        if found is None or environment_id != caller.environment.id or not may_see:
            raise HeadwaterError("receipt_not_found", f"there is no receipt {receipt[:64]!r}", hint="receipts expire")
        dataset = catalog_of(caller).datasets.get(name)
        is_own = found.principal_id == caller.key.principal_id
        shows = is_own or (dataset is not None and access.shows_values(caller, dataset))
        describe = partial(overview.describe_receipt, shows_values=shows)
        return _json(await asyncio.to_thread(describe, access.runtime, found))


def _add_quarantine(router: APIRouter, access: Access, threads: Threads) -> None:
    @router.get("/datasets/{dataset}/quarantine", tags=["quarantine"], operation_id="list_quarantine")
    async def list_quarantine(
        request: Request,
        dataset: Name,
        *,
        fingerprint: Fingerprint = None,
        cursor: Cursor = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> Response:
        """Return refused rows, the newest first."""
        caller, found = access.dataset(request, dataset, "quarantine.read")
        shows = access.shows_values(caller, found)

        def read() -> dict[str, Any]:
            kept = _kept(access.runtime, found)
            where = Filter(found.spec.id, fingerprint, before=cursor)
            page = kept.page(where, limit=limit, newest_first=True)
            settled = kept.settled(row["quarantine_id"] for row in page.rows)
            return {
                "rows": [overview.describe_kept(row, found, settled, shows_values=shows) for row in page.rows],
                "next_cursor": None if page.is_last else page.rows[-1]["quarantine_id"],
            }

        return _json(await threads.run(read))

    @router.get("/datasets/{dataset}/quarantine/groups", tags=["quarantine"], operation_id="list_quarantine_groups")
    async def list_groups(request: Request, dataset: Name) -> Response:
        """Return refused rows grouped by what was wrong with them, with samples."""
        caller, found = access.dataset(request, dataset, "quarantine.read")
        groups = await threads.run(partial(_kept(access.runtime, found).groups, [found.spec.id]))
        catalog, shows = catalog_of(caller), access.shows_values(caller, found)
        described = [overview.describe_group(group, catalog, shows_values=shows) for group in groups]
        return _json({"groups": described})


def _add_verdicts(router: APIRouter, access: Access, threads: Threads) -> None:
    async def resolve(request: Request, name: str, verdict: Literal["replay", "discard"]) -> Response:
        caller, found = access.dataset(request, name, "quarantine.resolve")
        what = await read_document(request, Resolve)
        if (what.fingerprint is None) == (what.all is None):
            raise HeadwaterError("invalid_parameter", "name a fingerprint, or say all", hint='{"fingerprint": "…"}')
        requester = Requester(
            caller.key.principal_id,
            context_of(request.scope).request_id,
            caller.environment.snapshot.number,
        )
        resolver = Resolver(access.runtime, found)
        work = resolver.replay if verdict == "replay" else resolver.discard
        if what.fingerprint is not None:
            await threads.run(partial(resolver.require_group, what.fingerprint))
        resolution = await threads.run(partial(work, requester, fingerprint=what.fingerprint))
        return _json(resolution.to_dict())

    documented: dict[str, Any] = {"tags": ["quarantine"], "openapi_extra": document_of(Resolve)}

    @router.post("/datasets/{dataset}/quarantine/replay", operation_id="replay_quarantine", **documented)
    async def replay(request: Request, dataset: Name) -> Response:
        """Send refused rows through the current contract again. A row is accepted at most once, however often asked."""
        return await resolve(request, dataset, "replay")

    @router.post("/datasets/{dataset}/quarantine/discard", operation_id="discard_quarantine", **documented)
    async def discard(request: Request, dataset: Name) -> Response:
        """Close refused rows without accepting them."""
        return await resolve(request, dataset, "discard")


def _kept(runtime: Runtime, dataset: Dataset) -> KeptRows:
    return KeptRows(runtime.journal, runtime.lake, dataset.quarantine_stream)


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
