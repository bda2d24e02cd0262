"""The forms of a JSON body: rows by name or position, and entities whose features are fetched."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec
from headwater.engines.features.fetch import Defaulted
from headwater.services.inference.batch import Inputs, Row
from headwater.services.inference.faults import find_constants, input_invalid, pointer
from headwater.services.inference.fetching import Fetching, fetch_in_time
from headwater.services.inference.keys import LoggedKeys
from headwater.services.inference.signature import MAX_ROWS, UNREADABLE
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.service import Environment

_THREAD_FROM_BYTES: Final = 64 << 10
_ENTITIES: Final = b'"entities"'
_SHAPE: Final = 'send {"entities": [{key: value}]} or {"entities": [{key: value}], "rows": [{name: value}]}'
T = TypeVar("T")

_Object = dict[str, Any]


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    entities: list[_Object]
    rows: list[_Object] | UnsetType = UNSET


_read_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_read_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class JsonReader:
    """Reads ``{"rows": …}`` and ``{"inputs": …}``. With ``partly`` bad rows do not spoil the good ones."""

    def __init__(self, body: bytes, *, partly: bool = False) -> None:
        """Read ``body``."""
        self._body = body
        self._partly = partly

    async def read(self, version: ServedVersion) -> Inputs:
        """Return the rows."""
        rows = version.signature.read_quickly(self._body)
        if rows is not None:
            return Inputs(rows)
        if self._partly:
            return await self._off_loop(_read_partly, version)
        return Inputs(await self._off_loop(lambda version, body: version.signature.read_exactly(body), version))

    async def reread(self, version: ServedVersion) -> Inputs:
        """Return the rows, large numbers held against their text."""
        if self._partly:
            return await self._off_loop(_read_partly, version)
        rows = await self._off_loop(lambda version, body: version.reread(body), version)
        return Inputs(rows, is_exact=True)

    def entity_key(self) -> bytes | None:
        """Return None: rows name no entity."""
        return None

    async def _off_loop(self, read: Callable[[ServedVersion, bytes], T], version: ServedVersion) -> T:
        """Read slowly: what is wrong with a long body may take seconds to say, so that is said in a thread."""
        if len(self._body) <= _THREAD_FROM_BYTES:
            return read(version, self._body)
        return await asyncio.to_thread(read, version, self._body)


def _read_partly(version: ServedVersion, body: bytes) -> Inputs:
    rows, faults, total = version.signature.read_partly(body)
    good = [number for number in range(total) if number not in faults]
    kept: list[Row] = []
    found = dict(faults)
    for number, row in zip(good, rows, strict=True):
        errors = version.beyond_limits(row)
        if errors:
            found[number] = errors
        else:
            kept.append(row)
    return Inputs(kept, is_exact=True, faults=found)


@dataclass(slots=True)
class _Merged:
    """Rows by name with their features, where these come from, what could not be fetched, and what are defaults."""

    rows: list[_Object]
    provenance: list[Any]
    faults: dict[int, Sequence[FieldError]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(
        self, row: int, entity: _Object, defaulted: Sequence[Defaulted], views: Mapping[str, FeatureViewSpec]
    ) -> None:
        """Name the features of a row that are defaults, for whom and why."""
        for some in defaulted:
            key = {name: entity.get(name) for name in views[some.view].entities}
            names = ", ".join(f"{some.view}.{name}" for name in some.features)
            verb = "is a default" if len(some.features) == 1 else "are defaults"
            self.warnings.append(f"row {row}: {names} {verb} for {_encode(key).decode()}: {some.reason}")


class EntityReader:
    """Reads ``{"entities": …}``: features are fetched for each entity, and what a row gives itself wins over them."""

    def __init__(
        self,
        body: bytes,
        fetcher: Fetching,
        environment: Environment,
        *,
        partly: bool = False,
        keys: LoggedKeys | None = None,
        deadline: float | None = None,
    ) -> None:
        """Read ``body`` in ``environment``.

        What features were fetched by is logged as ``keys`` says. Nobody waits after ``deadline``, an instant of
        ``time.monotonic``.

        Raises:
            HeadwaterError: ``malformed_body`` or ``input_invalid``.
        """
        self._fetcher = fetcher
        self._environment = environment
        self._partly = partly
        self._keys = keys
        self._deadline = deadline
        self.entities, self._rows = _read_entities(body)

    async def read(self, version: ServedVersion) -> Inputs:
        """Return rows with their features."""
        merged = await self._merge(version)
        rows, faults = merged.rows, merged.faults
        if faults and not self._partly:
            raise input_invalid(faults)
        good = [number for number in range(len(rows)) if number not in faults]
        if self._partly:
            inputs = self._read_partly(version, rows, good, faults)
        else:
            inputs = Inputs(version.signature.read_values(rows))
        kept = [number for number in range(len(rows)) if number not in (inputs.faults or ())]
        inputs.features = [merged.provenance[number] for number in kept]
        inputs.warnings = merged.warnings
        return inputs

    async def reread(self, version: ServedVersion) -> Inputs:
        """Return rows with their features, large numbers held against what they say and what the model can take."""
        merged = await self._merge(version)
        if merged.faults:
            raise input_invalid(merged.faults)
        rows = version.reread(_encode({"rows": merged.rows}))
        return Inputs(rows, is_exact=True, features=merged.provenance, warnings=merged.warnings)

    def entity_key(self) -> bytes | None:
        """Return the text of the first entity's key."""
        return _encode(self.entities[0])

    def _read_partly(
        self, version: ServedVersion, merged: Sequence[_Object], good: Sequence[int], faults: dict[int, Any]
    ) -> Inputs:
        if not good:
            return Inputs((), is_exact=True, faults=faults)
        inputs = _read_partly(version, _encode({"rows": [merged[number] for number in good]}))
        inputs.faults = faults | {good[number]: errors for number, errors in (inputs.faults or {}).items()}
        return inputs

    async def _merge(self, version: ServedVersion) -> _Merged:
        if not version.feature_fields:
            raise HeadwaterError(
                "input_invalid",
                f"version {version.number} of model {version.model!r} fetches no features",
                hint='send {"rows": [{name: value}]}',
            )
        merged = _Merged([dict(row) for row in self._rows], [{} for _ in self._rows])
        if self._keys is not None and self._keys.known is not None:
            merged.faults.update(_unknown_keys(self.entities, self._keys.known))
        for given, numbers in self._by_given(version).items():
            needs = [need for need in version.spec.features if need.field not in given]
            if needs:
                await self._fetch(needs, numbers, merged)
        return merged

    async def _fetch(self, needs: Sequence[FeatureRefSpec], numbers: Sequence[int], merged: _Merged) -> None:
        # What the row says too: features may be computed from it.
        entities = [{**self._rows[number], **self.entities[number]} for number in numbers]
        views = self._environment.snapshot.features
        now_us = time.time_ns() // 1_000
        fetched = await fetch_in_time(
            self._fetcher, self._environment.id, views, needs, entities, now_us=now_us, deadline=self._deadline
        )
        for place, number in enumerate(numbers):
            errors = list(fetched.errors.get(place, ()))
            errors += [_unreal(name, value) for name, value in fetched.values[place].items() if _is_unreal(value)]
            if errors:
                merged.faults[number] = [*merged.faults.get(number, ()), *errors]
            merged.rows[number] = {**fetched.values[place], **merged.rows[number]}
            merged.provenance[number] = found = fetched.provenance[place]
            if found and self._keys is not None:
                found.update(self._keys.of(needs, entities[place], now_us))
        for place, defaulted in fetched.defaulted.items():
            if numbers[place] not in merged.faults:
                merged.warn(numbers[place], entities[place], defaulted, views)

    def _by_given(self, version: ServedVersion) -> dict[frozenset[str], list[int]]:
        """Return the rows by which features they give themselves."""
        groups: dict[frozenset[str], list[int]] = {}
        for number, row in enumerate(self._rows):
            groups.setdefault(version.feature_fields.intersection(row), []).append(number)
        return groups


def has_entities(body: bytes) -> bool:
    """Return whether a body is one of entities."""
    if _ENTITIES not in body:
        return False
    try:
        return "entities" in _read_members(body)
    except UNREADABLE:
        return True  # whoever reads it says what is wrong with it


def _read_entities(body: bytes) -> tuple[list[_Object], list[_Object]]:
    try:
        envelope = _read_envelope(body)
    except msgspec.ValidationError as error:
        raise HeadwaterError("input_invalid", f"the body is not as it must be: {error}", hint=_SHAPE) from error
    except UNREADABLE as error:
        malformed = HeadwaterError("malformed_body", f"the body is not JSON: {error}", hint=_SHAPE)
        raise find_constants(body, ("entities", "rows")) or malformed from error
    count = len(envelope.entities)
    rows = [{} for _ in envelope.entities] if envelope.rows is UNSET else envelope.rows
    if not count:
        raise HeadwaterError("input_invalid", "'entities' has no rows", hint=_SHAPE)
    if count > MAX_ROWS:
        raise HeadwaterError(
            "too_many_rows", f"{count} rows, and a request may have {MAX_ROWS}", hint="send several requests"
        )
    if len(rows) != count:
        raise HeadwaterError(
            "input_invalid", f"there are {count} entities and {len(rows)} rows", hint="send one row for each entity"
        )
    return envelope.entities, rows


def _unknown_keys(entities: Sequence[_Object], known: frozenset[str]) -> dict[int, Sequence[FieldError]]:
    """Return by row the names that no feature is fetched by: a misspelt one would otherwise do nothing at all."""
    return {
        row: [_unknown_key(name, known) for name in entity if name not in known]
        for row, entity in enumerate(entities)
        if not known.issuperset(entity)
    }


def _unknown_key(name: str, known: frozenset[str]) -> FieldError:
    message = f"no feature of the model is fetched by it; there are {', '.join(sorted(known))}"
    return FieldError("unknown_field", pointer(name), message)


def _is_unreal(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _unreal(name: str, value: float) -> FieldError:
    return FieldError("type_mismatch", pointer(name), f"the feature is {value}, not a finite number", "number")
