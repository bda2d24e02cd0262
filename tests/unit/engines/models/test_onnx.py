from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.builders.executors import open_file, spec_of
from tests.builders.onnx_models import by_field, linear, two_columns

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.onnx import OnnxExecutor

NUMBER, INTEGER, STRING = LogicalType.NUMBER, LogicalType.INTEGER, LogicalType.STRING
SCORE = OutputSpec(name="score", type="number")
A, B = Field("a", NUMBER), Field("b", NUMBER)
AMOUNT, COUNT, NAME = Field("amount", NUMBER), Field("count", INTEGER), Field("name", STRING)
TOTAL = OutputSpec(name="total", type="number")


def test_a_matrix_model_answers_row_by_row() -> None:
    executor = OnnxExecutor(linear([1, 10]), [A, B], [SCORE])
    assert executor.takes_matrix
    [scores] = executor.run_matrix(np.array([[1, 2], [3, 4]], dtype=executor.dtype))
    assert scores.tolist() == [21, 43]


def test_an_output_may_be_one_column_of_the_artifacts() -> None:
    outputs = [
        OutputSpec(name="probability", type="number", source="probabilities", index=1),
        OutputSpec(name="label", type="integer"),
        OutputSpec(name="all", type="number", shape=(2,), source="probabilities"),
    ]
    probability, label, both = OnnxExecutor(two_columns(2), [A, B], outputs).run_matrix(
        np.array([[1, 2]], dtype=np.float32)
    )
    assert (probability.tolist(), label.tolist(), both.tolist()) == ([3], [1], [[0, 3]])


def test_a_model_may_take_one_input_for_each_field_in_any_order() -> None:
    executor = OnnxExecutor(by_field(), [NAME, AMOUNT, COUNT], [TOTAL, OutputSpec(name="echo", type="string")])
    assert not executor.takes_matrix
    total, echo = executor.run_columns([["x", None], [0.5, 1.5], [1, 2]])
    assert (total.tolist(), echo.tolist()) == ([1.5, 3.5], ["x", ""])
    assert executor.limits[2] == 2**63


@pytest.mark.parametrize(
    ("artifact", "fields", "outputs", "complaint"),
    [
        (b"no model", [A], [SCORE], "onnxruntime cannot load it"),
        (linear([1, 2])[:-20], [A, B], [SCORE], "onnxruntime cannot load it"),
        (linear([1, 2, 3]), [A, B], [SCORE], "None by 3 and the signature has 2 inputs"),
        (linear([1, 2]), [A, NAME], [SCORE], "cannot hold name"),
        (linear([1, 2]), [A, B], [TOTAL, SCORE], "no output 'total', only score"),
        (linear([1, 2]), [A, B], [OutputSpec(name="score", type="number", index=4)], "no such column"),
        (linear([1, 2]), [A, B], [OutputSpec(name="score", type="string")], "is float32 and the signature says string"),
        (linear([1, 2]), [A, B], [OutputSpec(name="score", type="number", shape=(3,))], "is 1 by 1 for 1 rows"),
        (two_columns(2), [A, B], [OutputSpec(name="probabilities", type="number")], "is 1 by 2 for 1 rows"),
        (by_field(), [AMOUNT, COUNT], [TOTAL], "its inputs are amount, count, name"),
        (by_field(), [AMOUNT, COUNT, Field("name", NUMBER)], [TOTAL], "input 'name' is object"),
        (
            by_field(),
            [AMOUNT, Field("count", INTEGER, nullable=True), NAME],
            [TOTAL],
            "cannot say that a value is miss",
        ),
    ],
)
def test_an_artifact_that_does_not_fit_says_where(
    tmp_path: Path, artifact: bytes, fields: list[Field], outputs: list[OutputSpec], complaint: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(artifact)
    with pytest.raises(HeadwaterError) as refused:
        open_file(spec_of("onnx", fields, outputs), tmp_path / "model.onnx", fields)
    assert refused.value.code == "model_unavailable"
    assert complaint in refused.value.detail
    assert refused.value.hint


def test_examples_warm_a_version_up_instead_of_ones() -> None:
    with pytest.raises(HeadwaterError, match="does not fit"):
        OnnxExecutor(by_field(), [AMOUNT, COUNT, NAME], [TOTAL], [{"amount": "much", "count": 1, "name": "x"}])
    OnnxExecutor(by_field(), [AMOUNT, COUNT, NAME], [TOTAL], [{"amount": 2.5, "count": 1, "name": "x"}])
