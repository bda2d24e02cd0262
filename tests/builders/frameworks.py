"""One small model for each framework, with what its own library answers."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.builders.onnx_models import by_field, linear

from headwater.contracts.model import Field, LogicalType
from headwater.core.snapshot import OutputSpec

Rows = Sequence[Mapping[str, Any]]
A, B = Field("a", LogicalType.NUMBER), Field("b", LogicalType.NUMBER)
SCORE = OutputSpec(name="score", type="number")
CARRIERS = ("AA", "DL", "UA")
MIXED = (Field("amount", LogicalType.NUMBER), Field("count", LogicalType.INTEGER), Field("name", LogicalType.STRING))


@dataclass(frozen=True)
class Framed:
    """A model: its artifact (None if it is remote), its signature, and ``native``, the answers to rows by name."""

    framework: str
    artifact: Path | None
    fields: Sequence[Field]
    outputs: Sequence[OutputSpec]
    native: Callable[[Rows], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0


def numbers(count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(7)
    return [{"a": float(a), "b": float(b)} for a, b in random.normal(size=(count, 2))]


def mixed(count: int) -> list[dict[str, Any]]:
    return [{"amount": number / 7, "count": number % 5, "name": CARRIERS[number % 3]} for number in range(count)]


def matrix_of(rows: Rows, names: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[row[name] for name in names] for row in rows], dtype=np.float64)


def training_data(rows: int = 300) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    x = np.random.default_rng(1).normal(size=(rows, 2))
    return x, (x[:, 0] + x[:, 1] ** 2 > 0.5).astype(np.int64)


def onnx_numbers(directory: Path) -> Framed:
    path = directory / "linear.onnx"
    path.write_bytes(linear([1, 10]))

    def native(rows: Rows) -> Any:
        return (matrix_of(rows, "ab").astype(np.float32) @ np.array([1, 10], np.float32)).tolist()

    return Framed("onnx", path, [A, B], [SCORE], native, tolerance=1e-5)


def onnx_mixed(directory: Path) -> Framed:
    path = directory / "mixed.onnx"
    path.write_bytes(by_field())
    return Framed("onnx", path, MIXED, [OutputSpec(name="total", type="number")], _total, tolerance=1e-5)


def sklearn_numbers(directory: Path) -> Framed:
    import skops.io
    from sklearn.ensemble import GradientBoostingClassifier

    x, y = training_data()
    model = GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x, y)
    path = directory / "gbc.skops"
    skops.io.dump(model, path)
    output = OutputSpec(name="score", type="number", source="predict_proba", index=1)
    return Framed("sklearn", path, [A, B], [output], lambda rows: model.predict_proba(matrix_of(rows, "ab"))[:, 1])


def sklearn_mixed(directory: Path) -> Framed:
    """A pipeline that picks its columns by name, fitted on a frame of another order."""
    import pandas as pd
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    rows = mixed(200)
    frame = pd.DataFrame(rows)[["name", "amount", "count"]]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["name"]), (StandardScaler(), ["amount", "count"])
    )
    model = make_pipeline(encode, LogisticRegression()).fit(frame, [row["name"] == "UA" for row in rows])
    path = directory / "pipeline.skops"
    skops.io.dump(model, path)
    output = OutputSpec(name="score", type="number", index=1)

    def native(asked: Rows) -> Any:
        return model.predict_proba(pd.DataFrame(asked)[["name", "amount", "count"]])[:, 1]

    return Framed("sklearn", path, MIXED, [output], native, {"method": "predict_proba"})


def lightgbm_numbers(directory: Path) -> Framed:
    import lightgbm

    x, y = training_data()
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(x, y), 20)
    path = directory / "numbers.txt"
    booster.save_model(path)
    return Framed("lightgbm", path, [A, B], [SCORE], lambda rows: booster.predict(matrix_of(rows, "ab"), num_threads=1))


def lightgbm_mixed(directory: Path) -> Framed:
    import lightgbm
    import pandas as pd

    rows = mixed(300)

    def frame(asked: Rows) -> Any:
        data = pd.DataFrame(asked)[["count", "name", "amount"]]
        return data.assign(name=pd.Categorical(data["name"], categories=CARRIERS))

    data = lightgbm.Dataset(frame(rows), [row["name"] == "UA" for row in rows])
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 1, "cat_smooth": 1}
    booster = lightgbm.train(parameters, data, 20)
    path = directory / "mixed.txt"
    booster.save_model(path)
    return Framed("lightgbm", path, MIXED, [SCORE], lambda asked: booster.predict(frame(asked), num_threads=1))


def xgboost_numbers(directory: Path) -> Framed:
    import xgboost

    x, y = training_data()
    parameters = {"objective": "binary:logistic", "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(x, y, feature_names=["b", "a"]), 20)
    path = directory / "numbers.ubj"
    booster.save_model(path)

    def native(rows: Rows) -> Any:
        return booster.predict(xgboost.DMatrix(matrix_of(rows, "ba"), feature_names=["b", "a"]))

    return Framed("xgboost", path, [A, B], [SCORE], native)


def python_numbers(directory: Path) -> Framed:
    code = "class Model:\n def __init__(self, d): pass\n def predict(self, c): return {'score': c['a'] + 10 * c['b']}\n"
    path = zipped(directory / "numbers.zip", {"model.py": code})
    return Framed("python", path, [A, B], [SCORE], lambda rows: [row["a"] + 10 * row["b"] for row in rows])


MIXED_CODE = """
from pathlib import Path
from weights import weight


class Delay:
    def __init__(self, directory):
        self.suffix = (Path(directory) / "suffix.txt").read_text()

    def predict(self, columns):
        assert columns["count"].dtype == "int64"
        total = columns["amount"] + weight * columns["count"]
        return {"total": total, "echo": [name + self.suffix for name in columns["name"]]}
"""


def python_mixed(directory: Path) -> Framed:
    files = {"delay.py": MIXED_CODE, "weights.py": "weight = 1\n", "suffix.txt": ""}
    path = zipped(directory / "mixed.zip", files)
    outputs = [OutputSpec(name="total", type="number")]
    return Framed("python", path, MIXED, outputs, _total, {"class": "delay:Delay"})


def zipped(path: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write a ZIP archive of files by name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path.write_bytes(data.getvalue())
    return path


def _total(rows: Rows) -> Any:
    return [row["amount"] + row["count"] for row in rows]


NUMBERS: dict[str, Callable[[Path], Framed]] = {
    "onnx": onnx_numbers,
    "sklearn": sklearn_numbers,
    "lightgbm": lightgbm_numbers,
    "xgboost": xgboost_numbers,
    "python": python_numbers,
}
TEXTS: dict[str, Callable[[Path], Framed]] = {
    "onnx": onnx_mixed,
    "sklearn": sklearn_mixed,
    "lightgbm": lightgbm_mixed,
    "python": python_mixed,
}
