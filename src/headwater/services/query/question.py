"""A question to an endpoint: what it is about, what its answers are called, and what is said of them beside."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from headwater.engines.lake.protocol import TableState
from headwater.engines.query.parameters import to_plain
from headwater.engines.query.walk import CheckedQuery
from headwater.services.kit.service import Caller
from headwater.services.query.catalog import CompiledEndpoint
from headwater.services.query.compression import SUFFIXES, Coding
from headwater.services.query.formats import TRAILERS, ResultFormat
from headwater.services.query.result import PageEnd
from headwater.services.query.rulings import Ruling, describe_rulings, policy_headers

Headers = list[tuple[bytes, bytes]]

_VARY: Final = (b"vary", b"Authorization, Accept, Accept-Encoding")
_REVALIDATE: Final = (b"cache-control", b"private, no-cache, must-revalidate")
_NO_STORE: Final = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class Question:
    """A request that was understood: an endpoint, its values, the pinned tables and the format.

    ``caller`` is who asks; None: nobody in particular, as for a live result that many share. ``coding`` is what the
    answer is compressed by.
    """

    environment_id: str
    endpoint: CompiledEndpoint
    values: Mapping[str, Any]
    states: Sequence[TableState | None]
    format: ResultFormat
    tag: bytes
    rulings: Sequence[Ruling | None] = ()
    caller: Caller | None = None
    coding: Coding = ""

    @property
    def etag(self) -> bytes:
        """Return the tag of the answer as it is sent: in another coding it is another one."""
        return self.tag[:-1] + SUFFIXES[self.coding] + b'"'

    @property
    def is_cacheable(self) -> bool:
        """Return whether the answer depends on nothing but what its tag stands for."""
        return self.endpoint.spec.cache.mode == "version" and not query_of(self.endpoint).reads_clock

    @property
    def label(self) -> str:
        """Return what the endpoint is called among those of all environments."""
        return f"{self.environment_id}/{self.endpoint.spec.id}"

    @property
    def timeless(self) -> bytes:
        """Return what this question has in common with the same one about other versions of the tables."""
        return entity_tag(self.endpoint, self.values, (), self.format, self.rulings) + self.coding.encode()

    @property
    def decided(self) -> list[tuple[str, Ruling]]:
        """Return what policies decided, by the name of the table, or ``endpoint:`` and that of the endpoint."""
        if not self.rulings:
            return []
        pairs = zip(self.endpoint.resources, self.rulings, strict=True)
        return [(name, one) for name, one in pairs if one is not None]

    @property
    def page_end(self) -> PageEnd | None:
        """Return where the page ends that is asked for; None: all is."""
        page = self.endpoint.page
        if page is None:
            return None
        pinned = [None if state is None else state.version for state in self.states]
        return PageEnd(page.limit, self.endpoint.spec.key, lambda last: page.sign(last, pinned))

    @property
    def versions(self) -> dict[str, int | None]:
        """Return the version of every table that is read."""
        pairs = zip(self.endpoint.tables, self.states, strict=True)
        return {table.name: None if state is None else state.version for table, state in pairs}

    @property
    def freshness(self) -> dict[str, datetime | None]:
        """Return when each table came to be as it is; None for one without rows, or where nobody knows any more."""
        pairs = zip(self.endpoint.tables, self.states, strict=True)
        return {table.name: None if state is None else state.committed_at for table, state in pairs}


def entity_tag(
    endpoint: CompiledEndpoint,
    values: Mapping[str, Any],
    states: Sequence[TableState | None],
    form: ResultFormat,
    rulings: Sequence[Ruling | None] = (),
) -> bytes:
    """Return the quoted tag: equal for equal endpoint, values, table versions, policy, format and engine only."""
    content = [
        [to_plain(value) for value in values.values()],
        [None if state is None else state.version for state in states],
        form,
        [None if one is None else one.digest.hex() for one in rulings],
    ]
    digest = hashlib.blake2b(orjson.dumps(content, default=str), key=endpoint.seed, digest_size=16)
    return f'"{digest.hexdigest()}"'.encode()


def query_of(endpoint: CompiledEndpoint) -> CheckedQuery:
    """Return the endpoint's checked query."""
    assert endpoint.query is not None, "find_endpoint lets no endpoint with a fault pass"
    return endpoint.query


def is_known(header: bytes | None, tag: bytes) -> bool:
    """Return whether ``If-None-Match`` names the tag (weak comparison, RFC 9110 §13.1.2)."""
    if header is None:
        return False
    if header == tag:
        return True
    return header.strip() == b"*" or any(item.strip().removeprefix(b"W/") == tag for item in header.split(b","))


def answer_headers(question: Question, *, is_cacheable: bool) -> Headers:
    """Return the headers of an answer but for its length and type."""
    versions = ", ".join(f"{name}={'none' if v is None else v}" for name, v in question.versions.items())
    headers: Headers = [_VARY, (b"hw-table-versions", versions.encode()), *policy_headers(question.decided)]
    if is_cacheable:
        return [*headers, (b"etag", question.etag), _REVALIDATE]
    return [*headers, _NO_STORE]


def link_to_next(question: Question, following: str) -> Headers:
    """Return the link to the next page of a result, in the format of this one; nothing when there is none."""
    if not following:
        return []
    trailer = next((plain for plain, with_one in TRAILERS.items() if with_one is question.format), None)
    form = f"{trailer}&trailer=true" if trailer is not None else question.format
    return [(b"link", f'<?cursor={following}&format={form}>; rel="next"'.encode())]


def describe(question: Question) -> dict[str, Any]:
    """Return the ``meta`` of an answer."""
    spec = question.endpoint.spec
    meta: dict[str, Any] = {
        question.endpoint.kind: spec.name,
        "revision": spec.revision,
        "table_versions": question.versions,
        "freshness": question.freshness,
    }
    return meta | describe_rulings(question.decided)
