"""Parameters whose values come from a query: a value that the query does not answer is refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.parameters import ParameterFault, parameter_invalid, read_value
from headwater.services.query.compiling import MAX_CHOICES, CompiledEndpoint

_KEPT: Final = 256
_SHOWN: Final = 20


class Choices:
    """The values that parameters may have, by the tags of the answers that name them."""

    def __init__(self) -> None:
        """Know none."""
        self._known: OrderedDict[bytes, frozenset[Any]] = OrderedDict()

    async def check(
        self,
        endpoint: CompiledEndpoint,
        values: Mapping[str, Any],
        ask: Callable[[CompiledEndpoint], Awaitable[tuple[bytes, bytes]]],
    ) -> None:
        """Refuse values that are none of those their parameters may have, as the caller sees them.

        Args:
            endpoint: what is asked.
            values: what its SQL binds.
            ask: answers a query of values with its tag and its rows as JSON columns.

        Raises:
            HeadwaterError: ``parameter_invalid``, and whatever the query fails with.
        """
        faults = []
        for name, query in endpoint.choices.items():
            spec, value = endpoint.parameters[name], values[name]
            given = value if isinstance(value, list) else [] if value is None else [value]
            if not given:
                continue
            known = self._read(spec, *await ask(query))
            if not known.issuperset(given):
                shown = ", ".join(sorted(map(str, known))[:_SHOWN])
                more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
                faults.append({"parameter": name, "message": f"must be one of {shown}{more}"})
        if faults:
            raise parameter_invalid(faults, endpoint.parameters)

    def _read(self, spec: ParameterSpec, tag: bytes, body: bytes) -> frozenset[Any]:
        known = self._known.get(tag)
        if known is None:
            (column,) = orjson.loads(body)["data"].values()
            one = spec.model_copy(update={"is_list": False, "required": False, "values": ()})
            known = frozenset(_values(one, column))
            self._known[tag] = known
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known


def _values(spec: ParameterSpec, column: list[Any]) -> list[Any]:
    if len(column) > MAX_CHOICES:
        raise HeadwaterError(
            "sql_failed", f"{spec.name} has more than {MAX_CHOICES} values", hint="narrow `values_from` down"
        )
    try:
        return [
            read_value(spec, value, is_text=isinstance(value, str) and spec.type != "string")
            for value in column
            if value is not None
        ]
    except ParameterFault as fault:
        raise HeadwaterError(
            "sql_failed", f"`values_from` of {spec.name} answers something that is no {spec.type}: {fault}"
        ) from fault
