"""scikit-learn estimators: skops archives, and pickles where the operator lets them be loaded."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType
from headwater.engines.models.contents import is_zip
from headwater.engines.models.isolated.job import Job
from headwater.engines.models.native.protocol import first_line, misfit, unreadable
from headwater.engines.models.samples import SampleRows

METHODS: Final = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
    "score_samples",
    "apply",
)
#: Estimators, trees and losses of these packages; skops itself vouches only for some of them.
_TRUSTED_PACKAGES: Final = frozenset({"sklearn", "lightgbm", "xgboost"})
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_FLOAT64_MAX: Final = float(np.finfo(np.float64).max)
_BEYOND_FLOAT32: Final = 1e39


class SklearnModel:
    """A ``NativeModel`` for one estimator.

    Numbers alone go in as a float64 matrix. Where there are texts, or the estimator picks columns by name, it gets a
    pandas frame if it was fitted on one, and an array of objects otherwise.
    """

    def __init__(self, job: Job) -> None:
        """Load the estimator; raises ``HeadwaterError`` for one that cannot be, or has other inputs."""
        # One thread for one worker: what an estimator says of n_jobs was meant for training.
        joblib.parallel_config(backend="sequential")
        sklearn.set_config(skip_parameter_validation=True)
        warnings.filterwarnings("ignore", message=".*does not have valid feature names.*")
        self._fields = job.fields()
        self._estimator = _load(Path(job.artifact), allow_pickle=job.allow_pickle)
        self._names = [field.name for field in self._fields]
        self.default_source: str | None = str(job.options.get("method", "predict"))
        self._methods: dict[str, Any] = {}
        self._order = _column_order(self._estimator, self._names)
        self._fitted_on_names = getattr(self._estimator, "feature_names_in_", None) is not None
        self._samples = SampleRows(self._fields, job.examples)
        self.dtype = np.dtype(np.float64)
        self.takes_matrix = not any(field.type is LogicalType.STRING for field in self._fields)
        self.limits: tuple[float, ...] = (_FLOAT64_MAX,) * len(self._fields)

    def want(self, sources: Sequence[str]) -> None:
        """Bind the methods, and find out what form of input they take."""
        for source in sources:
            method = getattr(self._estimator, source, None) if source in METHODS else None
            if method is None:
                there = [name for name in METHODS if hasattr(self._estimator, name)]
                raise misfit(
                    f"a {type(self._estimator).__name__} has no method {source!r}, only {', '.join(there)}",
                    "name one of them as the output's source, or as options.method",
                )
            self._methods[source] = method
        if self.takes_matrix:
            self._try_matrix()

    def run_matrix(self, matrix: NDArray[Any]) -> Mapping[str, Any]:
        """Return an array for each method."""
        if self._order is not None:
            matrix = matrix[:, self._order]
        return {source: method(matrix) for source, method in self._methods.items()}

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
        """Return an array for each method, from a frame or an array of objects."""
        rows = self._frame(columns) if self._fitted_on_names else np.array(list(zip(*columns, strict=True)), object)
        return {source: method(rows) for source, method in self._methods.items()}

    def _try_matrix(self) -> None:
        """Fall back to frames if the estimator picks columns by name; find out about absent and huge numbers."""
        try:
            self.run_matrix(self._samples.matrix(2, self.dtype))
        except Exception as error:
            if not self._fitted_on_names:
                raise misfit(
                    f"it raised {first_line(error)}", "check it with scikit-learn, or give examples"
                ) from error
            self.takes_matrix = False
            return
        self._refuse_absent_numbers()
        huge = self._samples.matrix(1, self.dtype)
        huge[:] = _BEYOND_FLOAT32
        if "float32" in _complaint(self, huge):
            self.limits = (_FLOAT32_MAX,) * len(self._fields)
        if _takes_inputs_itself(self._estimator):
            # Nothing comes between the inputs, which are finite as the service has checked, and the estimator.
            sklearn.set_config(assume_finite=True)

    def _refuse_absent_numbers(self) -> None:
        """Raise if a number may be absent that the estimator cannot do without."""
        rows = self._samples.matrix(1, self.dtype)
        absent = [at for at, field in enumerate(self._fields) if field.nullable]
        rows[:, absent] = np.nan
        complaint = _complaint(self, rows) if absent else ""
        if "NaN" in complaint:
            names = ", ".join(self._fields[at].name for at in absent)
            raise misfit(
                f"{names} may be absent, and the estimator takes no NaN",
                "make the fields required and not nullable, give them a default, or put an imputer into the pipeline",
            )

    def _frame(self, columns: Sequence[Sequence[Any]]) -> Any:
        pandas = importlib.import_module("pandas")
        named = {field.name: _typed(field, values) for field, values in zip(self._fields, columns, strict=True)}
        ordered = self._names if self._order is None else [self._names[at] for at in self._order]
        return pandas.DataFrame({name: named[name] for name in ordered})


def _load(path: Path, *, allow_pickle: bool) -> Any:
    if is_zip(path):
        estimator = _load_skops(path, allow_all=allow_pickle)
    elif allow_pickle:
        estimator = joblib.load(path)
    else:
        raise unreadable("it is no skops archive", "write it with skops.io.dump(estimator, path)")
    if not hasattr(estimator, "get_params"):
        raise unreadable(f"it holds a {type(estimator).__name__}, which is no estimator")
    return estimator


def _load_skops(path: Path, *, allow_all: bool) -> Any:
    try:
        unknown = skops.io.get_untrusted_types(file=path)
    except Exception as error:  # whatever a damaged archive makes it raise
        raise unreadable(f"skops says {first_line(error)}") from error
    strangers = [name for name in unknown if name.partition(".")[0] not in _TRUSTED_PACKAGES]
    if strangers and not allow_all:
        raise unreadable(
            f"it has types that nobody vouches for: {', '.join(strangers[:20])}",
            "use estimators of scikit-learn alone, or let the operator set inference.allow_pickle = true",
        )
    return skops.io.load(path, trusted=unknown)


def _column_order(estimator: Any, names: Sequence[str]) -> list[int] | None:
    """Return for each column that the estimator was fitted on its field's position; None when they are the same."""
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is None:
        width = getattr(estimator, "n_features_in_", None)
        if width is not None and width != len(names):
            raise misfit(
                f"the estimator was fitted on {width} columns and the signature has {len(names)} inputs",
                "declare the inputs in the order of the matrix's columns",
            )
        return None
    wanted = [str(name) for name in fitted]
    if set(wanted) != set(names):
        raise misfit(
            f"the estimator was fitted on {', '.join(wanted)} and the signature's inputs are {', '.join(names)}",
            "name the inputs as the columns were named",
        )
    order = [names.index(name) for name in wanted]
    return None if order == list(range(len(names))) else order


def _complaint(model: SklearnModel, matrix: NDArray[Any]) -> str:
    """Return what the estimator says against ``matrix``, nothing if it takes it."""
    try:
        with np.errstate(all="ignore"):
            model.run_matrix(matrix)
    except ValueError as error:
        return str(error)
    except Exception:  # noqa: BLE001 - an overflow of its own says nothing about the input
        return ""
    return ""


def _takes_inputs_itself(estimator: Any) -> bool:
    """Return whether no other estimator is inside this one, to be fed with what a first one computed."""
    return not any(hasattr(value, "fit") for value in estimator.get_params().values())


def _typed(field: Field, values: Sequence[Any]) -> Any:
    if field.type is LogicalType.STRING:
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return column
    if None in values:
        return np.array(values, dtype=np.float64)
    kinds = {LogicalType.INTEGER: np.int64, LogicalType.BOOLEAN: np.bool_}
    return np.array(values, dtype=kinds.get(field.type, np.float64))
