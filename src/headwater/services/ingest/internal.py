"""What control asks ingest over ``/internal/v1``. The kit guards these routes with the node token."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any, Final, Literal, Self

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, model_validator

from headwater.core.errors import HeadwaterError
from headwater.core.streams import split_stream
from headwater.engines.journal.protocol import LedgerRow
from headwater.services.ingest import overview
from headwater.services.ingest.catalog import SERVICE, Catalog, Dataset
from headwater.services.ingest.kept import Filter, KeptRows
from headwater.services.ingest.reply import counts_of, to_json
from headwater.services.ingest.resolve import Requester, Resolver
from headwater.services.kit.request import context_of, read_document
from headwater.services.kit.service import Runtime
from headwater.services.kit.threads import Threads

_ROW_ID: Final = "^q_[0-7][0-9A-HJKMNP-TV-Z]{25}$"


class Ruling(BaseModel):
    """A verdict on a quarantine group, or on some of its rows, given in the console."""

    fingerprint: str | None = Field(None, pattern="^[0-9a-f]{16}$")
    quarantine_ids: list[Annotated[str, Field(pattern=_ROW_ID)]] | None = Field(None, min_length=1, max_length=1_000)
    requested_by: str = Field(min_length=1, max_length=200)

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        """Refuse a verdict on everything there is: it would have been a mistake."""
        if self.fingerprint is None and self.quarantine_ids is None:
            raise ValueError("name a fingerprint or quarantine_ids")
        return self


class Correction(BaseModel):
    """A refused row as somebody thinks that it was meant."""

    quarantine_id: str = Field(pattern=_ROW_ID)
    changes: dict[str, Any] = Field({}, max_length=1_000)
    removed: list[str] = Field([], max_length=1_000)
    requested_by: str = Field(min_length=1, max_length=200)


def make_internal_router(runtime: Runtime, kept: Threads, verdicts: Threads) -> APIRouter:
    """Return the routes below ``/internal/v1``; ``kept`` look at refused rows, ``verdicts`` rule on them."""
    router = APIRouter()
    _add_datasets(router, runtime)
    _add_quarantine(router, runtime, kept, verdicts)
    _add_ledger(router, runtime)
    return router


def _add_datasets(router: APIRouter, runtime: Runtime) -> None:
    @router.get("/datasets/{environment_id}")
    async def datasets(environment_id: str, name: Annotated[list[str] | None, Query()] = None) -> Response:
        every = _catalog(runtime, environment_id).datasets
        found = list(every.values()) if name is None else [every[one] for one in name if one in every]
        return _json({"datasets": await asyncio.to_thread(overview.describe_datasets, runtime, found)})

    @router.get("/datasets/{environment_id}/{dataset}/receipts")
    async def receipts(
        environment_id: str, dataset: str, limit: Annotated[int, Query(ge=1, le=1_000)] = 50
    ) -> Response:
        stream = _dataset(runtime, environment_id, dataset).stream
        return _json({"receipts": await asyncio.to_thread(overview.list_receipts, runtime, stream, limit)})


def _add_quarantine(router: APIRouter, runtime: Runtime, looking: Threads, verdicts: Threads) -> None:
    @router.get("/quarantine/{environment_id}/groups")
    async def groups(environment_id: str, dataset: str | None = None) -> Response:
        catalog = _catalog(runtime, environment_id)
        wanted = [_dataset(runtime, environment_id, dataset)] if dataset else list(catalog.datasets.values())
        kept = KeptRows(runtime.journal, runtime.lake, catalog.quarantine_stream)
        found = await looking.run(partial(kept.groups, [dataset.spec.id for dataset in wanted]))
        described = [
            overview.describe_group(group, catalog, shows_values=not _is_closed(catalog, group.dataset_id))
            for group in found
        ]
        return _json({"groups": described})

    @router.get("/quarantine/{environment_id}/{dataset}/rows")
    async def rows(
        environment_id: str,
        dataset: str,
        after: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> Response:
        found = _dataset(runtime, environment_id, dataset)
        kept = KeptRows(runtime.journal, runtime.lake, found.quarantine_stream)

        def read() -> dict[str, Any]:
            page = kept.page(Filter(found.spec.id, after=after), limit=limit, newest_first=False)
            settled = kept.settled(row["quarantine_id"] for row in page.rows)
            return {
                "rows": [overview.describe_kept(row, found, settled) for row in page.rows],
                "is_last": page.is_last,
            }

        return _json(await looking.run(read))

    @router.post("/quarantine/{environment_id}/{dataset}/correct")
    async def correct(request: Request, environment_id: str, dataset: str) -> Response:
        correction = await read_document(request, Correction)
        requester = _requester(request, runtime, environment_id, correction.requested_by)
        resolver = Resolver(runtime, _dataset(runtime, environment_id, dataset))
        work = partial(resolver.correct, requester, correction.quarantine_id, correction.changes, correction.removed)
        resolution = await verdicts.run(work)
        return _json(resolution.to_dict())

    @router.post("/quarantine/{environment_id}/{dataset}/{verdict}")
    async def resolve(
        request: Request, environment_id: str, dataset: str, verdict: Literal["replay", "discard"]
    ) -> Response:
        ruling = await read_document(request, Ruling)
        requester = _requester(request, runtime, environment_id, ruling.requested_by)
        resolver = Resolver(runtime, _dataset(runtime, environment_id, dataset))
        work = resolver.replay if verdict == "replay" else resolver.discard
        ids = ruling.quarantine_ids
        resolution = await verdicts.run(partial(work, requester, fingerprint=ruling.fingerprint, ids=ids))
        return _json(resolution.to_dict())


def _is_closed(catalog: Catalog, dataset_id: str) -> bool:
    """Return whether policies decide about a dataset's rows: control does not say for whom it asks."""
    dataset = catalog.by_id(dataset_id)
    return dataset is None or dataset.spec.protected or dataset.active.contract.protected


def _add_ledger(router: APIRouter, runtime: Runtime) -> None:
    @router.get("/ledger/{environment_id}")
    async def ledger(environment_id: str, since_minute: Annotated[int, Query(ge=0)] = 0) -> Response:
        catalog = _catalog(runtime, environment_id)
        rows = await asyncio.to_thread(lambda: runtime.journal.ledger(since_minute=since_minute))
        ours = [row for row in rows if split_stream(row.stream)[0] == environment_id]
        return _json(
            {
                "rows": [_ledger_row(row) for row in ours],
                "balanced": await asyncio.to_thread(_is_balanced, runtime, catalog),
            }
        )


def _is_balanced(runtime: Runtime, catalog: Catalog) -> bool:
    """Return whether the minutes of each dataset add up to its totals."""
    sums: dict[str, list[int]] = {}
    for row in runtime.journal.ledger(since_minute=0):
        values = list(counts_of(row.counts).values())
        sums[row.stream] = [a + b for a, b in zip(sums.get(row.stream, [0] * len(values)), values, strict=True)]
    return all(
        sums.get(dataset.stream, [0] * 6) == list(counts_of(runtime.journal.totals(dataset.stream)).values())
        for dataset in catalog.datasets.values()
    )


def _ledger_row(row: LedgerRow) -> dict[str, Any]:
    return {
        "dataset": split_stream(row.stream)[1],
        "principal_id": row.principal_id,
        "minute": row.minute,
        "counts": counts_of(row.counts),
    }


def _requester(request: Request, runtime: Runtime, environment_id: str, principal_id: str) -> Requester:
    _catalog(runtime, environment_id)
    number = runtime.environments[environment_id].snapshot.number
    return Requester(principal_id, context_of(request.scope).request_id, number)


def _catalog(runtime: Runtime, environment_id: str) -> Catalog:
    environment = runtime.environments.get(environment_id)
    if environment is None:
        raise HeadwaterError("not_found", f"this node serves no environment {environment_id[:64]!r}")
    catalog = environment.compiled[SERVICE]
    assert isinstance(catalog, Catalog)
    return catalog


def _dataset(runtime: Runtime, environment_id: str, name: str) -> Dataset:
    found = _catalog(runtime, environment_id).datasets.get(name)
    if found is None:
        raise HeadwaterError("dataset_not_found", f"environment {environment_id} has no dataset {name[:64]!r}")
    return found


def _json(value: Any) -> Response:
    return Response(to_json(value), media_type="application/json")
