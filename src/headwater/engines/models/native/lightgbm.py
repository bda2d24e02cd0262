"""LightGBM boosters in their text format, on one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import LogicalType
from headwater.engines.models.isolated.job import Job
from headwater.engines.models.native.protocol import first_line, misfit, unreadable

SOURCES: Final[Mapping[str, Mapping[str, bool]]] = {
    "predict": {},
    "raw": {"raw_score": True},
    "contributions": {"pred_contrib": True},
    "leaves": {"pred_leaf": True},
}
_INFOS: Final = "feature_infos="
_NAMES_FROM_NUMBERS: Final = "Column_"


class LightgbmModel:
    """A ``NativeModel`` for one booster. Texts become the codes that they had as pandas categories in training."""

    default_source: str | None = "predict"

    def __init__(self, job: Job) -> None:
        """Load the booster; raises ``HeadwaterError`` for one that cannot be, or has other inputs."""
        self._fields = job.fields()
        text = _read(Path(job.artifact))
        try:
            self._booster = lightgbm.Booster(model_str=text)
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise unreadable(f"LightGBM says {first_line(error)}") from error
        self._order = self._column_order()
        self._codes = self._categories(text)
        self._sources: dict[str, Mapping[str, bool]] = {}
        self.dtype = np.dtype(np.float64)
        self.takes_matrix = not self._codes
        self.limits: tuple[float, ...] = (float(np.finfo(np.float64).max),) * len(self._fields)

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
        predict = self._booster.predict
        return {source: predict(matrix, num_threads=1, **how) for source, how in self._sources.items()}

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
        """Return an array for each source."""
        matrix = np.empty((len(columns[0]), len(columns)), dtype=np.float64)
        for position, values in enumerate(columns):
            codes = self._codes.get(position)
            # As pandas does it: what was no category in training is a missing value.
            matrix[:, position] = values if codes is None else [codes.get(value, np.nan) for value in values]
        return self.run_matrix(matrix)

    def _column_order(self) -> list[int] | None:
        names = [field.name for field in self._fields]
        fitted = [str(name) for name in self._booster.feature_name()]
        if len(fitted) != len(names):
            raise misfit(
                f"the booster was trained on {len(fitted)} columns and the signature has {len(names)} inputs",
                "declare the inputs in the order of the matrix's columns",
            )
        if all(name.startswith(_NAMES_FROM_NUMBERS) for name in fitted):
            return None
        if set(fitted) != set(names):
            raise misfit(
                f"the booster was trained on {', '.join(fitted)} and the signature's inputs are {', '.join(names)}",
                "name the inputs as the columns were named",
            )
        order = [names.index(name) for name in fitted]
        return None if order == list(range(len(names))) else order

    def _categories(self, text: str) -> dict[int, dict[Any, float]]:
        """Return by position of a field the code of each of its categories."""
        texts = [at for at, field in enumerate(self._fields) if field.type is LogicalType.STRING]
        known: list[list[Any]] = self._booster.pandas_categorical or []
        if not known and not texts:
            return {}
        columns = _categorical_columns(text)
        in_order = self._order or range(len(self._fields))
        positions = [at for column, at in enumerate(in_order) if at in texts or column in columns]
        if len(positions) != len(known):
            names = ", ".join(self._fields[at].name for at in positions) or "none"
            raise misfit(
                f"it was trained on {len(known)} columns of pandas categories, and these inputs are such: {names}",
                "declare exactly the categorical columns as strings, or train on numbers",
            )
        return {
            at: {value: float(code) for code, value in enumerate(values)}
            for at, values in zip(positions, known, strict=True)
        }


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise unreadable("it is no LightGBM text", "write it with booster.save_model(path)") from error
    if not text.startswith("tree"):
        raise unreadable("it is no LightGBM text", "write it with booster.save_model(path)")
    if "end of trees" not in text:
        raise unreadable("its end is missing")  # LightGBM itself would run what is there
    return text


def _categorical_columns(text: str) -> set[int]:
    """Return the columns whose values were categories: the file lists these where others have a range."""
    start = text.index(_INFOS) + len(_INFOS) if _INFOS in text else len(text)
    infos = text[start : text.find("\n", start)].split(" ")
    return {at for at, info in enumerate(infos) if info and info[0] not in "[n"}
