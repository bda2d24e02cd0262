"""``GET /v1/datasets/{dataset}/rows``: the rows of a dataset as the caller may see them, page by page."""

from __future__ import annotations

from headwater.core.errors import HeadwaterError
from headwater.services.kit.metrics import Tally
from headwater.services.kit.service import ASGIScope, Caller
from headwater.services.query.catalog import CompiledEndpoint, CompiledQueries
from headwater.services.query.endpoint_handler import EndpointHandler
from headwater.services.query.formats import ResultFormat


class RowsHandler(EndpointHandler):
    """Reads rows in the order of ``_hw_seq``; answers as an endpoint does, with entity tags and formats."""

    kind = "rows"

    def _tally(self) -> Tally:
        return Tally(
            "headwater_query_row_answers",
            "Answers with a dataset's rows by how they came about.",
            ("dataset", "outcome"),
        )

    def _find(
        self, caller: Caller, compiled: CompiledQueries, scope: ASGIScope
    ) -> tuple[CompiledEndpoint, ResultFormat | None]:
        name = scope["path_params"]["dataset"]
        if not caller.key.can("dataset.read", name):
            raise HeadwaterError(
                "forbidden",
                f"the key {caller.key.prefix}… lacks dataset.read on {name[:80]!r}",
                hint="use a key whose role has it, or ask for a grant",
            )
        table = compiled.tables.get(name)
        if table is None:
            raise caller.environment.missing("dataset_not_found", f"there is no dataset {name[:80]!r}")
        reader = compiled.rows_of(table)
        if reader.fault is not None:
            raise reader.fault
        return reader, None
