"""ONNX models on onnxruntime, one thread, in this process: a row of a small tree model takes some microseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.samples import SampleRows

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(double)": np.dtype(np.float64),
    "tensor(int64)": np.dtype(np.int64),
    "tensor(int32)": np.dtype(np.int32),
    "tensor(bool)": np.dtype(np.bool_),
    "tensor(string)": np.dtype(np.object_),
}
_KINDS: Final = {"number": "fiub", "integer": "iub", "boolean": "b", "string": "OU"}
_LOG_ERRORS_ONLY: Final = 3
_WARM_UP_ROWS: Final = (1, 2, 16)


class OnnxExecutor:
    """An ``Executor`` for one ONNX artifact, checked against its signature and warmed up."""

    def __init__(
        self,
        artifact: bytes,
        fields: Sequence[Field],
        outputs: Sequence[OutputSpec],
        examples: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Load the artifact and warm it up on ``examples``, or on rows of ones where there are none.

        Raises:
            HeadwaterError: ``model_unavailable`` naming what of the artifact does not fit the signature.
        """
        self._fields = tuple(fields)
        self._outputs = tuple(outputs)
        self._samples = SampleRows(self._fields, examples)
        self._session = _open_session(artifact)
        self._inputs: list[tuple[str, np.dtype[Any], int]] = [_input(node) for node in self._session.get_inputs()]
        self.takes_matrix = self._is_matrix()
        self.dtype = self._inputs[0][1]
        self._order = () if self.takes_matrix else self._column_order()
        self.limits = self._find_limits()
        self._sources = [self._source(output) for output in self._outputs]
        self._wanted = list(dict.fromkeys(self._sources))
        self._picks = [
            (self._wanted.index(source), output.index)
            for source, output in zip(self._sources, self._outputs, strict=True)
        ]
        self.output_names = tuple(output.name for output in self._outputs)
        self._warm_up()

    def run_matrix(self, matrix: NDArray[Any]) -> list[NDArray[Any]]:
        """Return one array for each output."""
        return self._run({self._inputs[0][0]: matrix})

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> list[NDArray[Any]]:
        """Return one array for each output, from values by field in signature order."""
        feeds: dict[str, NDArray[Any]] = {}
        for (name, dtype, rank), position in zip(self._inputs, self._order, strict=True):
            values = columns[position]
            if dtype.kind == "O" and None in values:
                values = ["" if value is None else value for value in values]  # ONNX strings cannot be absent
            array = np.array(values, dtype=dtype)
            feeds[name] = array if rank == 1 else array.reshape(-1, 1)
        return self._run(feeds)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            found = self._session.run(self._wanted, feeds)
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise HeadwaterError("model_failed", f"the model could not run: {_first_line(error)}") from error
        return [found[at] if index is None else found[at][:, index] for at, index in self._picks]

    def _flatten_single_columns(self) -> None:
        """Take the one column of a rows-by-one output whose signature is a scalar: regressors answer in that shape."""
        for position, (array, output) in enumerate(zip(self._run_samples(1), self._outputs, strict=True)):
            if not output.shape and np.shape(array) == (1, 1):
                self._picks[position] = (self._picks[position][0], 0)

    def _is_matrix(self) -> bool:
        """Return whether the graph takes all fields as one matrix; one input of one field is that field's column."""
        names = {field.name for field in self._fields}
        if len(self._inputs) != 1 or self._inputs[0][0] in names:
            return False
        shape = self._session.get_inputs()[0].shape
        width = shape[1] if len(shape) > 1 else None
        if len(shape) not in (0, 2) or (isinstance(width, int) and width != len(self._fields)):
            raise _misfit(
                f"it takes a matrix of shape {_shape(shape)} and the signature has {len(self._fields)} inputs",
                "declare the inputs in the order of the matrix's columns",
            )
        texts = [field.name for field in self._fields if field.type is LogicalType.STRING]
        if texts or self._inputs[0][1] not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise _misfit(
                f"it takes one matrix of {self._inputs[0][1]}, which cannot hold {', '.join(texts) or 'the inputs'}",
                "export it with one float matrix, or with one input for each field",
            )
        return True

    def _column_order(self) -> tuple[int, ...]:
        """Return for each input of the graph the position of its field."""
        positions = {field.name: index for index, field in enumerate(self._fields)}
        wanted = [name for name, _dtype, _rank in self._inputs]
        if set(wanted) != set(positions):
            raise _misfit(
                f"its inputs are {', '.join(wanted)} and the signature's are {', '.join(positions)}",
                "name them alike, or export it with one float matrix",
            )
        for name, dtype, _rank in self._inputs:
            is_text = self._fields[positions[name]].type is LogicalType.STRING
            if is_text != (dtype == np.dtype(np.object_)):
                raise _misfit(f"its input {name!r} is {dtype} and the signature's is not", "declare the type it takes")
            if dtype.kind in "ib" and _may_be_absent(self._fields[positions[name]]):
                raise _misfit(
                    f"its input {name!r} is {dtype}, which cannot say that a value is missing",
                    "make the field required and not nullable, give it a default, or export a float input",
                )
        return tuple(positions[name] for name in wanted)

    def _find_limits(self) -> tuple[float, ...]:
        if self.takes_matrix:
            return (_largest(self.dtype),) * len(self._fields)
        by_position = {position: self._inputs[at][1] for at, position in enumerate(self._order)}
        return tuple(_largest(by_position[position]) for position in range(len(self._fields)))

    def _source(self, output: OutputSpec) -> str:
        """Return the graph's output that ``output`` comes from."""
        names = [node.name for node in self._session.get_outputs()]
        wanted = output.source or output.name
        if wanted in names:
            return wanted
        if output.source is None and len(names) == 1 and len(self._outputs) == 1:
            return str(names[0])
        raise _misfit(
            f"it has no output {wanted!r}, only {', '.join(names)}", "name one of them as the output's source"
        )

    def _warm_up(self) -> None:
        """Run a few rows: what does not fit shows now, and the first request does not pay for allocations."""
        try:
            self._flatten_single_columns()
            for rows in _WARM_UP_ROWS:
                for array, output in zip(self._run_samples(rows), self._outputs, strict=True):
                    self._check_output(array, output, rows)
        except HeadwaterError as error:
            if error.code == "model_failed":
                raise _misfit(error.detail, "check the artifact with onnxruntime") from error
            raise

    def _run_samples(self, rows: int) -> list[NDArray[Any]]:
        try:
            if self.takes_matrix:
                return self.run_matrix(self._samples.matrix(rows, self.dtype))
            return self.run_columns(self._samples.columns(rows))
        except (IndexError, TypeError, ValueError, AttributeError) as error:
            raise HeadwaterError("model_failed", f"an output is no tensor, or has no such column: {error}") from error

    def _check_output(self, array: NDArray[Any], output: OutputSpec, rows: int) -> None:
        expected = (rows, *output.shape)
        if array.shape != expected:
            raise _misfit(
                f"its output {output.name!r} is {_shape(array.shape)} for {rows} rows"
                f" and the signature says {_shape(expected)}",
                "give the output its shape, or the index of one column",
            )
        if array.dtype.kind not in _KINDS[output.type]:
            raise _misfit(
                f"its output {output.name!r} is {array.dtype} and the signature says {output.type}",
                "declare the type it gives",
            )


def _open_session(artifact: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Some converters declare wrong output shapes, which onnxruntime would report at every single call.
    options.log_severity_level = _LOG_ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise _misfit(f"onnxruntime cannot load it: {_first_line(error)}", "export the model again") from error


def _input(node: Any) -> tuple[str, np.dtype[Any], int]:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise _misfit(f"its input {node.name!r} is of type {node.type}", f"use one of {', '.join(_DTYPES)}")
    return node.name, dtype, len(node.shape or ()) or 2


def _largest(dtype: np.dtype[Any]) -> float:
    if dtype.kind == "f":
        return float(np.finfo(dtype).max)
    return float(np.iinfo(dtype).max) if dtype.kind == "i" else float("inf")


def _may_be_absent(field: Field) -> bool:
    return field.nullable or (not field.required and not field.has_default)


def _misfit(detail: str, hint: str) -> HeadwaterError:
    return HeadwaterError("model_unavailable", f"the artifact does not fit: {detail}", hint=hint)


def _shape(shape: Sequence[Any]) -> str:
    return " by ".join(str(size) for size in shape) or "a scalar"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
