"""What a viewer watches, and who says that they may."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson

from headwater.core.snapshot import KeySpec
from headwater.engines.lake.protocol import TableState
from headwater.engines.query.walk import scratch
from headwater.services.kit.service import Caller
from headwater.services.query.catalog import CompiledEndpoint, CompiledQueries
from headwater.services.query.finding import find_endpoint
from headwater.services.query.formats import ResultFormat
from headwater.services.query.limits import Permit
from headwater.services.query.question import Question, entity_tag
from headwater.services.query.rulings import Ruling


@dataclass(frozen=True, slots=True)
class Subscription:
    """A question whose answers are watched.

    Attributes:
        digest: equal for all who see the same: environment, endpoint, parameters, policies and bounds of the key.
        until: when it has to be looked at anew, because the key, a policy or the endpoint's version ends then.
        caller: whose question it was first.
    """

    environment_id: str
    endpoint: CompiledEndpoint
    values: Mapping[str, Any]
    rulings: Sequence[Ruling | None]
    digest: bytes
    until: datetime | None
    caller: Caller

    @property
    def key(self) -> KeySpec:
        """Return the key of the caller."""
        return self.caller.key

    def check(self, rows: int, size: int) -> None:
        """Raise ``result_too_large`` for a result that is larger than the key, or the endpoint, allows."""
        bounds = [bound for bound in (self.key.limits.max_bytes, self.endpoint.spec.limits.max_bytes) if bound]
        Permit(bounds=(self.key.limits.max_rows, min(bounds, default=None))).check(rows, size)

    def question(self, states: Sequence[TableState | None]) -> Question:
        """Return the question about tables pinned to ``states``."""
        form = ResultFormat.JSON
        tag = entity_tag(self.endpoint, self.values, states, form, self.rulings)
        return Question(self.environment_id, self.endpoint, self.values, states, form, tag, self.rulings)


def subscribe(
    caller: Caller,
    compiled: CompiledQueries,
    name: str,
    given: Mapping[str, Any],
    *,
    is_text: bool,
    now: datetime,
) -> Subscription:
    """Return what ``caller`` would watch.

    Raises:
        HeadwaterError: ``endpoint_not_found``, ``sql_rejected`` or ``parameter_invalid``, as the endpoint itself does.
    """
    endpoint = find_endpoint(caller, compiled, name, now)
    values = endpoint.read_values(given, is_text=is_text, now=now)
    rulings: Sequence[Ruling | None] = ()
    if endpoint.policed:
        rulings = compiled.rulings.find_all(endpoint.policed, caller.key, now)
    spec, key = endpoint.spec, caller.key
    content = [
        compiled.environment_id,
        spec.key,
        spec.live.min_interval_seconds,
        [key.limits.max_rows, key.limits.max_bytes, spec.limits.max_bytes],
    ]
    tag = entity_tag(endpoint, values, (), ResultFormat.JSON, rulings)
    digest = hashlib.blake2b(tag + orjson.dumps(content), digest_size=8).digest()
    ends = [key.expires_at, spec.deprecated_at, spec.sunset_at, *(phase.starts_at for phase in key.later[:1])]
    ends += [one.until for one in rulings if one is not None]
    until = min((end for end in ends if end is not None and end > now), default=None)
    return Subscription(compiled.environment_id, endpoint, values, rulings, digest, until, caller)


@lru_cache(maxsize=1_024)
def is_ordered(sql: str) -> bool:
    """Return whether a statement says in which order its rows come."""
    with scratch() as connection:
        row = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone()
    tree = orjson.loads(row[0] if row is not None else "{}")
    modifiers = [one for statement in tree.get("statements", ()) for one in statement["node"].get("modifiers", ())]
    return any(one.get("type") == "ORDER_MODIFIER" for one in modifiers)
