"""A model's inputs: JSON bodies into rows of values, in microseconds when they are right, with every fault when not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.rows import FieldError, Validator
from headwater.contracts.spec import contract_to_spec
from headwater.contracts.validate import compile_contract
from headwater.services.inference.batch import Row
from headwater.services.inference.faults import ExactReader, input_invalid

MAX_ROWS: Final = 1_000
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Faults = Mapping[int, Sequence[FieldError]]


class Signature:
    """The compiled inputs of a model version.

    ``read`` takes what msgspec can vouch for; all else goes to ``read_exactly``, which asks the contract itself.
    Values beyond ``2**53`` pass ``read`` and must be asked about by whoever sees them in a matrix. Signatures with
    the same ``key`` read the same rows.
    """

    def __init__(self, contract: Contract) -> None:
        """Compile the inputs."""
        self.contract = contract
        self.names = tuple(field.name for field in contract.fields)
        self.key = json.dumps(contract_to_spec(contract), sort_keys=True, default=str)
        validator = compile_contract(contract)
        self._exact = ExactReader(validator, MAX_ROWS)
        by_position = _positional_type(validator, self.names)
        self._decode = _body_decoder(validator, by_position)
        self._by_name: Any = list[validator.row_type]  # type: ignore[name-defined] # made at run time
        self._values = _values_getter(self.names)
        self._is_settled_by_columns = any(map(_needs_columns, contract.fields))

    def read(self, body: bytes) -> Sequence[Row]:
        """Return the rows of a body.

        Raises:
            HeadwaterError: as ``read_exactly`` does.
        """
        rows = self.read_quickly(body)
        return self.read_exactly(body) if rows is None else rows

    def read_quickly(self, body: bytes) -> Sequence[Row] | None:
        """Return the rows of a body, or None where only ``read_exactly`` can tell."""
        if self._is_settled_by_columns:
            return None
        try:
            decoded = self._decode(body)
        except UNREADABLE:
            return None
        rows, inputs = decoded.rows, decoded.inputs
        if rows is UNSET and inputs is not UNSET:
            rows = inputs
        elif rows is UNSET or inputs is not UNSET:
            return None
        values = self._values
        return [values(row) for row in rows]

    def read_exactly(self, body: bytes) -> Sequence[Row]:
        """Return the rows of a body as the contract itself reads them.

        Raises:
            HeadwaterError: ``input_invalid`` with every bad row, ``malformed_body``, ``empty_body``, ``too_many_rows``.
        """
        return self._exact.read(body)

    def read_partly(self, body: bytes) -> tuple[Sequence[Row], Faults, int]:
        """Return the good rows of a body, what is wrong with the others by number, and how many there were.

        Raises:
            HeadwaterError: ``malformed_body``, ``empty_body``, ``too_many_rows``, or ``input_invalid`` without rows.
        """
        return self._exact.read_partly(body)

    def read_values(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Row]:
        """Return rows of plain values by name.

        Raises:
            HeadwaterError: as ``read_exactly`` does.
        """
        values, faults = self.check_values(rows)
        if faults:
            raise input_invalid(faults)
        return values

    def check_values(self, rows: Sequence[Mapping[str, Any]], *, exactly: bool = False) -> tuple[Sequence[Row], Faults]:
        """Return the good ones of rows of plain values by name, and what is wrong with the others by number.

        Args:
            rows: at most as many as a body may have.
            exactly: ask the contract itself, which holds large numbers against their text.
        """
        if not exactly and not self._is_settled_by_columns:
            try:
                typed = msgspec.convert(rows, self._by_name)
            except UNREADABLE:
                pass
            else:
                values = self._values
                return [values(row) for row in typed], {}
        good, faults, _total = self._exact.read_partly(msgspec.json.encode({"rows": rows}))
        return good, faults


def _positional_type(validator: Validator, names: Sequence[str]) -> type[Any]:
    types = {item.name: item.type for item in msgspec.structs.fields(validator.row_type)}
    return msgspec.defstruct(
        "Inputs", [(name, types[name]) for name in names], array_like=True, forbid_unknown_fields=True, gc=False
    )


def _body_decoder(validator: Validator, by_position: type[Any]) -> Callable[[bytes], Any]:
    """Return the decoder of ``{"rows": [{…}]}`` and ``{"inputs": [[…]]}``."""
    bounds = Meta(min_length=1, max_length=MAX_ROWS)
    body = msgspec.defstruct(
        "Body",
        [
            ("rows", Annotated[list[validator.row_type], bounds] | UnsetType, UNSET),  # type: ignore[name-defined]
            ("inputs", Annotated[list[by_position], bounds] | UnsetType, UNSET),  # type: ignore[valid-type]
        ],
        forbid_unknown_fields=True,
        gc=False,
    )
    return msgspec.json.Decoder(body).decode


def _values_getter(names: Sequence[str]) -> Callable[[Any], Row]:
    if len(names) > 1:
        return attrgetter(*names)
    single = attrgetter(names[0])
    return lambda row: (single(row),)


def _needs_columns(field: Field) -> bool:
    """Return whether the contract settles something about this field that the typed row does not."""
    limits = field.constraints
    match field.type:
        case LogicalType.NUMBER:
            return limits.multiple_of is not None or limits.enum is not None
        case LogicalType.STRING:
            return limits.pattern is not None or limits.format is not None
        case _:
            return False
