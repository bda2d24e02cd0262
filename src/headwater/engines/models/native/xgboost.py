"""XGBoost boosters in JSON or UBJSON, on one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost
from numpy.typing import NDArray

from headwater.contracts.model import LogicalType
from headwater.engines.models.isolated.job import Job
from headwater.engines.models.native.protocol import first_line, misfit, unreadable

SOURCES: Final = {"predict": "value", "raw": "margin"}


class XgboostModel:
    """A ``NativeModel`` for one booster. It takes numbers; absent ones are NaN, as in training."""

    default_source: str | None = "predict"

    def __init__(self, job: Job) -> None:
        """Load the booster; raises ``HeadwaterError`` for one that cannot be, or has other inputs."""
        self._fields = job.fields()
        xgboost.set_config(nthread=1, verbosity=0)
        data = Path(job.artifact).read_bytes()
        if data[:1] != b"{":
            raise unreadable("it is neither JSON nor UBJSON", "write it with booster.save_model('model.ubj')")
        try:
            self._booster = xgboost.Booster(model_file=bytearray(data))
        except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
            raise unreadable(f"XGBoost says {first_line(error)}") from error
        self._booster.set_param({"nthread": 1})
        self._order = self._column_order()
        self._sources: dict[str, str] = {}
        self.dtype = np.dtype(np.float32)
        self.takes_matrix = True
        self.limits: tuple[float, ...] = (float(np.finfo(np.float32).max),) * len(self._fields)

    def want(self, sources: Sequence[str]) -> None:
        """Answer with these."""
        for source in sources:
            if source not in SOURCES:
                raise misfit(
                    f"a booster has no answer {source!r}, only {', '.join(SOURCES)}",
                    "name one of them as the output's source, or leave it out",
                )
            self._sources[source] = SOURCES[source]

    def run_matrix(self, matrix: NDArray[Any]) -> Mapping[str, Any]:
        """Return an array for each source."""
        if self._order is not None:
            matrix = np.ascontiguousarray(matrix[:, self._order])
        predict = self._booster.inplace_predict
        return {
            source: predict(matrix, predict_type=kind, validate_features=False)
            for source, kind in self._sources.items()
        }

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
        """Return an array for each source."""
        return self.run_matrix(np.array(columns, dtype=np.float64).T.astype(self.dtype))

    def _column_order(self) -> list[int] | None:
        names = [field.name for field in self._fields]
        texts = [field.name for field in self._fields if field.type is LogicalType.STRING]
        if texts:
            raise misfit(
                f"XGBoost takes numbers here, and these inputs are texts: {', '.join(texts)}",
                "encode them before training, or put the booster into a scikit-learn pipeline that does",
            )
        width = int(self._booster.num_features())
        if width != len(names):
            raise misfit(
                f"the booster was trained on {width} columns and the signature has {len(names)} inputs",
                "declare the inputs in the order of the matrix's columns",
            )
        fitted = self._booster.feature_names
        if not fitted:
            return None
        if set(fitted) != set(names):
            raise misfit(
                f"the booster was trained on {', '.join(fitted)} and the signature's inputs are {', '.join(names)}",
                "name the inputs as the columns were named",
            )
        order = [names.index(name) for name in fitted]
        return None if order == list(range(len(names))) else order
