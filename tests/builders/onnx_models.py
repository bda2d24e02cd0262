"""Tiny ONNX graphs, made by hand so that tests need no training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


def linear(weights: Sequence[float], *, output: str = "score", bias: float = 0.0) -> bytes:
    """Return a graph of one float matrix ``x`` with as many columns as weights and one output of rows by one."""
    matrix = numpy_helper.from_array(np.array(weights, dtype=np.float32).reshape(-1, 1), "w")
    offset = numpy_helper.from_array(np.array([bias], dtype=np.float32), "b")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], [output])]
    return _serialize(
        nodes,
        [_tensor("x", TensorProto.FLOAT, [None, len(weights)])],
        [_tensor(output, TensorProto.FLOAT, [None, 1])],
        [matrix, offset],
    )


def two_columns(width: int) -> bytes:
    """Return a graph like a classifier's: ``label`` of integers and ``probabilities`` of rows by two."""
    weights = numpy_helper.from_array(np.array([[0.0, 1.0]] * width, dtype=np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["probabilities"]),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [
        _tensor("label", TensorProto.INT64, [None]),
        _tensor("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    return _serialize(nodes, [_tensor("x", TensorProto.FLOAT, [None, width])], outputs, [weights])


def by_field() -> bytes:
    """Return a graph of three inputs, ``amount`` (float), ``count`` (int64) and ``name`` (string), that answers both.

    ``total`` is amount + count, ``echo`` is name.
    """
    nodes = [
        helper.make_node("Cast", ["count"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["amount", "c"], ["total"]),
        helper.make_node("Identity", ["name"], ["echo"]),
    ]
    inputs = [
        _tensor("amount", TensorProto.FLOAT, [None, 1]),
        _tensor("count", TensorProto.INT64, [None, 1]),
        _tensor("name", TensorProto.STRING, [None]),
    ]
    outputs = [_tensor("total", TensorProto.FLOAT, [None, 1]), _tensor("echo", TensorProto.STRING, [None])]
    return _serialize(nodes, inputs, outputs, [])


def logarithm() -> bytes:
    """Return a graph whose output is not finite for inputs that are not positive."""
    nodes = [helper.make_node("Log", ["x"], ["score"])]
    return _serialize(
        nodes, [_tensor("x", TensorProto.FLOAT, [None, 1])], [_tensor("score", TensorProto.FLOAT, [None, 1])], []
    )


def _tensor(name: str, kind: int, shape: list[int | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _serialize(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(nodes, "test", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
