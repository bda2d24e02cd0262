"""Where an answer comes from: this process's memory, the store that workers share, another's work, or a query."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Final

from headwater.core.endpoints import CacheSpec
from headwater.engines.query.cost import ParquetSizes
from headwater.engines.query.protocol import QueryEngine
from headwater.services.query.cache import Flights, Kept, LastAnswers, ResultCache, SharedResults
from headwater.services.query.execution import Execution, QueryRunner
from headwater.services.query.question import Headers, Question, describe
from headwater.services.query.result import BATCH_ROWS, Shape
from headwater.services.query.versions import TableVersions

if TYPE_CHECKING:
    from headwater.engines.query.protocol import TableSource
    from headwater.engines.query.walk import CheckedQuery
    from headwater.services.query.limits import Limits
    from headwater.services.query.log import Answer, QueryLog

_ANY: Final = repeat(None)
_NO_STALE: Final = CacheSpec().stale_seconds
_OF_ONE_ANSWER: Final = frozenset({b"server-timing", b"ratelimit", b"ratelimit-policy"})


@dataclass(frozen=True, slots=True)
class Means:
    """What the handlers of a process share."""

    engine: QueryEngine
    runner: QueryRunner
    versions: TableVersions
    shared: SharedResults
    limits: Limits
    log: QueryLog
    sizes: ParquetSizes = field(default_factory=ParquetSizes)
    results: ResultCache = field(default_factory=ResultCache)
    last: LastAnswers = field(default_factory=LastAnswers)
    flights: Flights[Fresh] = field(default_factory=lambda: Flights(Fresh.close))


@dataclass(slots=True)
class Fresh:
    """An answer: ``kept`` whole, or an ``execution`` to be read and closed. One that ran says how long."""

    kept: Kept | None
    execution: Execution | None = None
    source: str = "parquet"
    scanned: int = 0

    @property
    def timing(self) -> Headers:
        """Return the header that says how long it waited and ran."""
        if self.execution is None:
            return []
        queue, query = self.execution.queue_seconds * 1_000, self.execution.query_seconds * 1_000
        return [(b"server-timing", f"queue;dur={queue:.2f}, query;dur={query:.2f}".encode())]

    def close(self) -> None:
        """Give back what it holds."""
        if self.execution is not None:
            self.execution.close()


class Answering:
    """Finds answers. Used from one event loop."""

    def __init__(self, means: Means) -> None:
        """Find them by ``means``."""
        self._means = means

    def remembered(self, question: Question) -> Kept | None:
        """Return the answer that this process still has."""
        return self._means.results.find(question.tag)

    def is_current(self, question: Question, headers: Headers) -> None:
        """Note that the answer was current just now, where the endpoint may show it later as a stale one."""
        if question.endpoint.spec.cache.stale_seconds > _NO_STALE:
            lasting = [one for one in headers if one[0] not in _OF_ONE_ANSWER]
            self._means.last.note(question.timeless, question.tag, lasting)

    def stale(self, question: Question, max_age_seconds: float) -> tuple[Headers, Kept, int] | None:
        """Return the last answer that was current, with its headers and its age in seconds."""
        last = self._means.last.find(question.timeless, max_age_seconds)
        kept = None if last is None else self._means.results.find(last.tag)
        if last is None or kept is None:
            return None
        return list(last.headers), kept, int(time.monotonic() - last.at)

    async def find(self, question: Question, note: Answer) -> Fresh:
        """Return the answer, from wherever it can be had soonest.

        Raises:
            HeadwaterError: ``overloaded``, ``query_timeout``, ``result_too_large``, and whatever the query fails with.
        """
        kept = self.remembered(question) if question.is_cacheable else None
        if kept is not None:
            note.source = "memory"
            return Fresh(kept)
        if question.is_cacheable:
            fresh, is_owner = await self._means.flights.join(question.tag, lambda: self._fetch(question))
            if not is_owner and fresh.kept is None:
                fresh = await self._execute(question)  # too large to be shared
            elif not is_owner:
                fresh = Fresh(fresh.kept, fresh.execution, fresh.source)  # one alone pays for what was read
        else:
            fresh = await self._execute(question)
        if fresh.execution is not None:
            note.queue_seconds, note.query_seconds = fresh.execution.queue_seconds, fresh.execution.query_seconds
        note.source, note.bytes_scanned = fresh.source, fresh.scanned
        return fresh

    async def _fetch(self, question: Question) -> Fresh:
        """Return the answer from the shared store, or run the query and put its answer there."""
        means, tag = self._means, question.tag
        kept = await means.shared.find(tag) or await means.shared.wait(tag, question.endpoint.spec.timeout_seconds)
        if kept is not None:
            means.results.put(tag, kept)
            return Fresh(kept, source="shared")
        try:
            fresh = await self._execute(question)
        except BaseException:
            await means.shared.give_up(tag)
            raise
        if fresh.kept is None:
            await means.shared.give_up(tag)
        else:
            means.results.put(tag, fresh.kept)
            await means.shared.put(tag, fresh.kept)
        return fresh

    async def _execute(self, question: Question) -> Fresh:
        endpoint, means = question.endpoint, self._means
        own = question.rulings[-1] if question.rulings else None
        triples = zip(endpoint.tables, question.states, question.rulings or _ANY, strict=False)
        tables = {table.name: table.source(state, ruling) for table, state, ruling in triples}
        query = endpoint.query_for(tables, question.rulings)
        reading = means.engine.start(
            question.environment_id,
            query,
            parameters=question.values,
            tables=tables,
            batch_rows=BATCH_ROWS,
            shown=None if own is None or endpoint.page is not None else own.shown,
            is_wanted=endpoint.spec.cache.accelerate,
        )
        timeout = endpoint.spec.timeout_seconds
        execution = await means.runner.begin(reading, timeout_seconds=timeout, label=question.label)
        try:
            most = endpoint.spec.max_rows if endpoint.page is None else endpoint.page.limit + 1
            result = await execution.run(Shape(question.format, most, describe(question), question.page_end))
            scanned = await self._scanned(query, tables)
        except BaseException:
            execution.close()
            raise
        kept = None if result.body is None else Kept(result.body, result.rows, result.following)
        return Fresh(kept, execution, execution.tier, scanned)

    async def _scanned(self, query: CheckedQuery, tables: dict[str, TableSource]) -> int:
        sizes = self._means.sizes
        known = sizes.known(query, tables)
        return known if known is not None else await asyncio.to_thread(sizes.scanned, query, tables)
