"""Columns are read as the contract reads the same rows in JSON: the same values, and the same rows refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.contracts.model import Constraints, Contract, Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.services.inference.batch import Inputs
from headwater.services.inference.signature import Signature
from headwater.services.inference.tabular import TableReader

LIMIT = float(np.finfo(np.float32).max)
FIELDS = (
    Field("x", LogicalType.NUMBER, constraints=Constraints(ge=-10, lt=100)),
    Field("n", LogicalType.INTEGER, constraints=Constraints(gt=-5, le=50)),
    Field("y", LogicalType.NUMBER),
)
SIGNATURE = Signature(Contract("m", "1.0", FIELDS, on_unknown="quarantine", on_error="reject_batch"))
READERS = [TableReader(SIGNATURE, (LIMIT,) * 3, takes_matrix=takes_matrix) for takes_matrix in (True, False)]

numbers = st.one_of(
    st.floats(-20, 120),
    st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 1e300, -10.0, 100.0, 99.999, 50.0, 2.0**53 + 2]),
    st.integers(-8, 60).map(float),
)
rows = st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=12)


def bad_in_json(table: list[tuple[float, float, float]]) -> set[int]:
    """Return the rows that the contract refuses, or that are beyond the model."""
    impossible = {
        number
        for number, row in enumerate(table)
        if not all(map(math.isfinite, row)) or any(abs(value) > LIMIT for value in row)
    }
    possible = [number for number in range(len(table)) if number not in impossible]
    if not possible:
        return impossible
    body = json.dumps({"inputs": [table[number] for number in possible]}).encode()
    _rows, faults, _total = SIGNATURE.read_partly(body)
    return impossible | {possible[place] for place in faults}


def outcome(read: Callable[[], Inputs]) -> tuple[Inputs | None, set[int]]:
    """Return what was read, or the rows that were refused."""
    try:
        return read(), set()
    except HeadwaterError as error:
        return None, {item["row"] for item in error.extra["errors"]}


@given(rows)
def test_columns_and_json_refuse_the_same_rows_and_read_the_same_values(
    table: list[tuple[float, float, float]],
) -> None:
    matrix = np.array(table)
    expected = bad_in_json(table)
    columns: dict[str, Any] = {field.name: matrix[:, at] for at, field in enumerate(FIELDS)}
    for reader in READERS:
        for read in (partial(reader.read_matrix, matrix), partial(reader.read_columns, columns)):
            inputs, refused = outcome(read)
            assert refused == expected
            if inputs is not None:
                found = inputs.rows if inputs.matrix is None else inputs.matrix.tolist()
                exact = SIGNATURE.read_exactly(json.dumps({"inputs": table}).encode())
                assert [tuple(row) for row in found] == [tuple(row) for row in exact]
                assert inputs.is_exact
