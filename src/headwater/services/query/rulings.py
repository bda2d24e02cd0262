"""Which policy decides what a key sees of a table or of an endpoint's answer, worked out once a key and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
import pyarrow as pa

from headwater.core.policies import Choice, PolicySpec, Viewer, attributes_in, choose
from headwater.core.snapshot import KeySpec
from headwater.engines.query.policies import BoundPolicy, compile_rule
from headwater.engines.query.rules import NEVER, RowRule
from headwater.engines.query.tables import duckdb_columns

NO_POLICY: Final = "no policy allows rows"
_MAX_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Ruling:
    """What was decided about one resource for one key.

    Attributes:
        label: the deciding policy's name, or why nothing is shown.
        hides_rows: no policy matches.
        rule: what the policy makes of a table; None for an endpoint, and without a policy.
        shown: the policy on an endpoint's answer; None for a table.
        masked: columns that are shown otherwise, with how; hidden ones are ``hide``.
        note: what the reader should know beside.
        digest: equal for equal decisions only.
        until: when it has to be decided anew.
    """

    label: str
    hides_rows: bool = False
    rule: RowRule | None = None
    shown: BoundPolicy | None = None
    masked: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    digest: bytes = b""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Policed:
    """A resource with policies: its name among resources, and the columns of a table (None for an endpoint)."""

    resource: str
    policies: tuple[PolicySpec, ...]
    is_protected: bool
    schema: pa.Schema | None = None


class Rulings:
    """The decisions of one configuration, as they are asked for."""

    def __init__(self, mask_key: str) -> None:
        """Begin with none; ``mask_key`` is the environment's."""
        self._mask_key = mask_key
        self._kept: dict[tuple[str, str], tuple[KeySpec, Ruling | None]] = {}

    def find(self, policed: Policed, key: KeySpec, now: datetime) -> Ruling | None:
        """Return what decides for ``key`` at ``now``; None: all is shown.

        Raises:
            HeadwaterError: ``forbidden`` when the policy that decides does not fit the columns.
        """
        place = (policed.resource, key.id)
        kept = self._kept.get(place)
        if kept is not None and kept[0] is key and not _is_over(kept[1], now):
            return kept[1]
        ruling = self._decide(policed, key.viewer, now)
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[place] = (key, ruling)
        return ruling

    def find_all(self, policed: Iterable[Policed | None], key: KeySpec, now: datetime) -> list[Ruling | None]:
        """Return what decides about each; errors as ``find``."""
        return [None if one is None else self.find(one, key, now) for one in policed]

    def _decide(self, policed: Policed, viewer: Viewer, now: datetime) -> Ruling | None:
        choice = choose(policed.policies, viewer, now, protected=policed.is_protected)
        if choice.is_open:
            return None
        bound = BoundPolicy(choice.policy, viewer, self._mask_key)
        if policed.schema is None:
            return _on_answer(choice, bound)
        if choice.policy is None:
            return Ruling(NO_POLICY, hides_rows=True, digest=_digest(NO_POLICY))
        rule = compile_rule(choice.policy, viewer, duckdb_columns(policed.schema), mask_key=self._mask_key)
        return Ruling(
            choice.policy.name,
            rule=rule,
            masked=choice.policy.columns,
            note=_note(choice.policy) if rule.where == NEVER else "",
            digest=_digest(choice.policy.name, rule.where, rule.shown),
            until=choice.until,
        )


def _on_answer(choice: Choice, bound: BoundPolicy) -> Ruling:
    policy = choice.policy
    if policy is None:
        return Ruling(NO_POLICY, hides_rows=True, shown=bound, digest=_digest(NO_POLICY))
    return Ruling(
        policy.name,
        shown=bound,
        masked=policy.columns,
        digest=_digest(policy.model_dump(mode="json"), _used(policy, bound.viewer)),
        until=choice.until,
    )


def _used(policy: PolicySpec, viewer: Viewer) -> list[tuple[str, Any]]:
    """Return what the policy's filter takes from a viewer: those alike in it see the same rows."""
    known = {**viewer.attributes, "id": viewer.id, "email": viewer.email, "groups": viewer.groups}
    names = attributes_in(policy.row_filter) if policy.row_filter else ()
    return [(name, known.get(name)) for name in sorted(names)]


def _note(policy: PolicySpec) -> str:
    return f"the policy {policy.name} needs an attribute that this key does not have, so it shows no rows"


def _is_over(ruling: Ruling | None, now: datetime) -> bool:
    return ruling is not None and ruling.until is not None and ruling.until <= now


def _digest(*parts: Any) -> bytes:
    return hashlib.blake2b(orjson.dumps(parts), digest_size=16).digest()


def describe_rulings(rulings: Iterable[tuple[str, Ruling]]) -> dict[str, Any]:
    """Return the members of ``meta`` that say what was decided: by table, or ``endpoint:<name>``."""
    found = list(rulings)
    if not found:
        return {}
    meta: dict[str, Any] = {"policy": {name: ruling.label for name, ruling in found}}
    hidden = {name: hidden_columns(ruling) for name, ruling in found}
    masked = {name: {one: mask for one, mask in ruling.masked.items() if mask != "hide"} for name, ruling in found}
    members = {
        "hidden_columns": {name: columns for name, columns in hidden.items() if columns},
        "masked_columns": {name: columns for name, columns in masked.items() if columns},
        "notes": [ruling.note for _, ruling in found if ruling.note],
    }
    return meta | {name: value for name, value in members.items() if value}


def policy_headers(rulings: Iterable[tuple[str, Ruling]]) -> list[tuple[bytes, bytes]]:
    """Return the headers that say the same in formats without ``meta``."""
    found = list(rulings)
    decided = ", ".join(f"{name}={'none' if ruling.hides_rows else ruling.label}" for name, ruling in found)
    hidden = ", ".join(f"{name}.{column}" for name, ruling in found for column in hidden_columns(ruling))
    headers = [(b"hw-policy", decided.encode("ascii", "replace"))] if found else []
    return headers + ([(b"hw-hidden-columns", hidden.encode("ascii", "replace"))] if hidden else [])


def hidden_columns(ruling: Ruling) -> list[str]:
    """Return the columns that are left out."""
    return [column for column, mask in ruling.masked.items() if mask == "hide"]
