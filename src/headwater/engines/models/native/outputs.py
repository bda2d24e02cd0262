"""From what a framework answers to the outputs of the signature: picked, checked, of a type that travels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.core.errors import HeadwaterError
from headwater.engines.models.isolated.job import OutputJob

_KINDS: Final = {"number": "fiub", "integer": "iub", "boolean": "b", "string": "OU"}
_TRAVELS: Final = frozenset("fiub")


class WrongOutput(HeadwaterError):
    """The model answered, but not what its signature says."""

    def __init__(self, detail: str) -> None:
        """Say what differs."""
        super().__init__("model_failed", f"the model answered wrongly: {detail}", hint="mend the model or its outputs")


class OutputPicker:
    """Takes each output of a signature from answers by source."""

    def __init__(self, outputs: Sequence[OutputJob], default_source: str | None) -> None:
        """Take outputs without a source from ``default_source``, else from what bears their own name."""
        self._outputs = [(output, output.source or default_source or output.name) for output in outputs]
        self.sources = tuple(dict.fromkeys(source for _output, source in self._outputs))

    def pick(self, answers: Mapping[str, Any], rows: int) -> list[NDArray[Any]]:
        """Return an array for each output; raises ``WrongOutput`` naming the one that is not as declared."""
        if not isinstance(answers, Mapping):
            raise WrongOutput(f"it gave a {type(answers).__name__} and not a mapping of outputs by name")
        return [_take(output, source, answers, rows) for output, source in self._outputs]


def _take(output: OutputJob, source: str, answers: Mapping[str, Any], rows: int) -> NDArray[Any]:
    if source not in answers:
        known = ", ".join(map(str, answers)) or "nothing"
        raise WrongOutput(f"it gave no {source!r} for the output {output.name!r}, only {known}")
    array = answers[source]
    if type(array) is not np.ndarray:
        array = _as_array(output, array)
    if output.index is not None:
        if array.ndim != 2 or array.shape[1] <= output.index:  # noqa: PLR2004 - rows by columns
            raise WrongOutput(
                f"{source!r} is {_shape(array.shape)} and the output {output.name!r} is its column {output.index}"
            )
        array = array[:, output.index]
    elif not output.shape and array.shape == (rows, 1):
        array = array[:, 0]
    if array.shape != (rows, *output.shape):
        raise WrongOutput(
            f"its output {output.name!r} is {_shape(array.shape)} for {rows} {'row' if rows == 1 else 'rows'}"
            f" and the signature says {_shape((rows, *output.shape))}"
        )
    return _travelling(output, array)


def _travelling(output: OutputJob, array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in one of the types that frames carry; raises ``WrongOutput`` for another than declared."""
    kind = array.dtype.kind
    if kind not in _KINDS[output.type]:
        hint = " of Python objects" if kind == "O" else ""
        raise WrongOutput(f"its output {output.name!r} is {array.dtype}{hint} and the signature says {output.type}")
    if kind == "O" and not all(isinstance(value, str) for value in array.ravel()):
        raise WrongOutput(f"its output {output.name!r} has values that are no text and the signature says string")
    if kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)  # noqa: PLR2004 - bytes
    if kind in _TRAVELS and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _as_array(output: OutputJob, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value, dtype=object if output.type == "string" else None)
    except Exception as error:
        raise WrongOutput(f"its output {output.name!r} is a {type(value).__name__}, which is no array") from error


def _shape(shape: Sequence[int]) -> str:
    return " by ".join(map(str, shape)) or "a scalar"
