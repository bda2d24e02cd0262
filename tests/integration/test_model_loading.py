"""Artifacts that cannot be served: each is refused when it is opened, saying why and what to do."""

from __future__ import annotations

import dataclasses
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from tests.builders.executors import spec_of
from tests.builders.frameworks import (
    SCORE,
    A,
    B,
    Framed,
    lightgbm_numbers,
    onnx_numbers,
    python_numbers,
    sklearn_numbers,
    training_data,
    xgboost_numbers,
    zipped,
)
from tests.builders.misbehaving import ORDER, SAID, archive, obedient, tell

from headwater.contracts.model import Contract, Field
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import OutputSpec
from headwater.engines.models import check_artifact, open_executor
from headwater.engines.models.isolated import starting
from headwater.engines.models.isolated.executor import IsolatedExecutor
from headwater.engines.models.isolated.nursery import NURSERIES
from headwater.engines.models.manifest import Example, ModelManifest

WITH_PICKLES = InferenceSettings(allow_pickle=True)


def _open(
    framework: str,
    artifact: Path,
    fields: Any = (A, B),
    outputs: Any = (SCORE,),
    settings: InferenceSettings | None = None,
    **members: Any,
) -> IsolatedExecutor:
    spec = spec_of(framework, fields, outputs, **members)
    opened = open_executor(spec, artifact, fields, settings=settings or InferenceSettings())
    assert isinstance(opened, IsolatedExecutor)
    return opened


def _refusal(*arguments: Any, **members: Any) -> HeadwaterError:
    with pytest.raises(HeadwaterError) as refused:
        _open(*arguments, **members)
    assert refused.value.code == "model_unavailable"
    assert refused.value.hint
    _await_no_nursery()
    return refused.value


def _await_no_nursery() -> None:
    """Wait until what failed to open has left, and what a test before closed too."""
    deadline = time.monotonic() + 5
    while NURSERIES._running:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_a_pickle_is_loaded_only_where_the_operator_allows_it(tmp_path: Path) -> None:
    x, y = training_data()
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(LinearRegression().fit(x, y)))
    error = _refusal("sklearn", path)
    assert "holds a pickle" in error.detail
    assert "inference.allow_pickle" in str(error.hint)
    executor = _open("sklearn", path, settings=WITH_PICKLES)
    try:
        [scores] = await executor.run_matrix(x[:5])
        np.testing.assert_array_equal(scores, LinearRegression().fit(x, y).predict(x[:5]))
    finally:
        executor.close()


class _Stranger(LinearRegression):  # type: ignore[misc]
    """An estimator of nobody's."""


def test_a_skops_archive_with_types_of_strangers_lists_them(tmp_path: Path) -> None:
    import skops.io

    x, y = training_data()
    skops.io.dump(_Stranger().fit(x, y), tmp_path / "model.skops")
    error = _refusal("sklearn", tmp_path / "model.skops")
    assert "_Stranger" in error.detail
    assert "inference.allow_pickle" in str(error.hint)


@pytest.mark.parametrize("build", [sklearn_numbers, lightgbm_numbers, xgboost_numbers, python_numbers])
@pytest.mark.parametrize("damage", ["cut", "garbled", "empty"])
def test_a_damaged_artifact_is_refused(tmp_path: Path, build: Any, damage: str) -> None:
    model: Framed = build(tmp_path)
    assert model.artifact is not None
    data = model.artifact.read_bytes()
    middle = len(data) // 2
    damaged = {"cut": data[:middle], "garbled": data[:20] + bytes(reversed(data[20:])), "empty": b""}[damage]
    model.artifact.write_bytes(damaged)
    error = _refusal(model.framework, model.artifact, outputs=model.outputs)
    assert "cannot be loaded" in error.detail


@pytest.mark.parametrize(
    ("code", "options", "complaint"),
    [
        (
            "import no_such_library",
            {},
            "importing 'model' raised ModuleNotFoundError: No module named 'no_such_library'",
        ),
        ("x = 1", {}, "'model' has no class 'Model'"),
        ("x = 1", {"class": "other:Model"}, "has no module 'other', only model"),
        ("class Model: pass", {}, "has no method predict"),
        ("class Model:\n def predict(self, c): pass", {}, "Model(directory) raised TypeError"),
        ("class Model:\n def __init__(self, d): 1 / 0\n def predict(self, c): pass", {}, "ZeroDivisionError"),
        ("class Model:\n def __init__(self, d): pass\n def predict(self, c): 1 / 0", {}, "on a row of ones it raised"),
        ("class Model:\n def __init__(self, d): pass\n def predict(self, c): return {}", {}, "gave no 'score'"),
        ("import os; os._exit(3)", {}, "its process ended: it exited with status 3"),
        ("import os; os.abort()", {}, "it was ended by SIGABRT"),
        ("hoard = bytearray(1 << 30)", {}, "more than 128 MB"),
        ("import time; time.sleep(60)", {}, "longer than 2 s"),
    ],
)
def test_code_that_cannot_be_served_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, options: dict[str, str], complaint: str
) -> None:
    monkeypatch.setattr(starting, "LOAD_SECONDS", 2.0)
    error = _refusal("python", archive(tmp_path, code), options=options, memory_bytes=128 << 20)
    assert complaint in error.detail


@pytest.mark.parametrize("name", ["../escape.py", "/absolute.py", "a/../../b.py"])
def test_an_archive_that_reaches_out_of_its_directory_is_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path / "model.zip", {"model.py": "class Model: pass", name: "x"})
    assert "no plain file below it" in _refusal("python", path).detail


def test_python_is_not_run_where_the_operator_does_not_want_it(tmp_path: Path) -> None:
    path = archive(tmp_path)
    error = _refusal("python", path, [ORDER], [SAID], settings=InferenceSettings(allow_python=False))
    assert "inference.allow_python" in str(error.hint)


def test_absent_numbers_are_refused_for_an_estimator_that_takes_no_nan(tmp_path: Path) -> None:
    model = sklearn_numbers(tmp_path)
    optional = [dataclasses.replace(field, nullable=True) for field in model.fields]
    error = _refusal("sklearn", model.artifact, optional, model.outputs)
    assert "a, b may be absent, and the estimator takes no NaN" in error.detail


def test_columns_of_other_names_are_refused(tmp_path: Path) -> None:
    model = xgboost_numbers(tmp_path)
    fields = [Field("a", A.type), Field("c", A.type)]
    error = _refusal("xgboost", model.artifact, fields)
    assert "trained on b, a and the signature's inputs are a, c" in error.detail


def test_a_library_that_is_not_there_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lightgbm_numbers(tmp_path)
    monkeypatch.setattr("headwater.engines.models.isolated.nursery._ONE_THREAD", ("PYTHONSAFEPATH", "PYTHONNOUSERSITE"))
    broken = zipped(tmp_path / "x.zip", {"lightgbm.py": "raise ImportError('no libgomp.so.1')"})
    own = starting.__file__.partition("/headwater/")[0]
    monkeypatch.setattr(
        "headwater.engines.models.isolated.nursery._environment", lambda: {"PYTHONPATH": f"{broken}:{own}"}
    )
    error = _refusal("lightgbm", model.artifact)
    assert "no libgomp.so.1" in error.detail
    assert "headwater[lightgbm]" in str(error.hint)


async def test_one_that_is_open_is_not_disturbed_by_one_that_cannot_be(tmp_path: Path) -> None:
    with obedient(tmp_path) as executor:
        (tmp_path / "bad").mkdir()
        with pytest.raises(HeadwaterError):
            _open("python", archive(tmp_path / "bad", "import os; os.abort()"))
        assert await tell(executor, "on") == ["on"]


def _manifest(model: Framed, **members: Any) -> ModelManifest:
    contract = Contract("delay", "1.0", tuple(model.fields), on_unknown="quarantine", on_error="reject_batch")
    return ModelManifest(
        "delay",
        contract,
        tuple(model.outputs),
        str(model.artifact),
        framework=model.framework,  # type: ignore[arg-type]
        options=dict(model.options),
        **members,
    )


@pytest.mark.parametrize("build", [onnx_numbers, sklearn_numbers, lightgbm_numbers, xgboost_numbers, python_numbers])
def test_an_artifact_is_looked_at_before_it_is_pushed(tmp_path: Path, build: Any) -> None:
    model: Framed = build(tmp_path)
    assert model.artifact is not None
    row = {"a": 0.5, "b": 2.0}
    right = float(model.native([row])[0])
    examples = (Example(row, {"score": right}), Example({"a": 1, "b": 1}), Example(row, {"score": right + 1}))
    report = check_artifact(_manifest(model, examples=examples), model.artifact, settings=InferenceSettings())
    assert report.size_bytes == model.artifact.stat().st_size
    assert not report.holds_pickle
    assert report.latency_us is not None
    assert sorted(report.latency_us) == [1, 100]
    assert all(0 < taken < 1e6 for taken in report.latency_us.values())
    [mismatch] = report.mismatches
    assert mismatch.startswith("examples[2]: score is ")
    _await_no_nursery()


def test_a_look_at_an_artifact_tells_of_pickles_that_may_be_loaded(tmp_path: Path) -> None:
    x, y = training_data()
    path = tmp_path / "model.joblib"
    path.write_bytes(pickle.dumps(LogisticRegression().fit(x, y)))
    model = Framed("sklearn", path, [A, B], [OutputSpec(name="label", type="integer")], lambda rows: rows)
    with pytest.raises(HeadwaterError, match="holds a pickle"):
        check_artifact(_manifest(model), path, settings=InferenceSettings())
    assert check_artifact(_manifest(model), path, settings=WITH_PICKLES).holds_pickle


def test_a_look_at_code_that_hangs_ends(tmp_path: Path) -> None:
    code = (
        "import time\nclass Model:\n def __init__(self, d): pass\n"
        " def predict(self, c): time.sleep(60 * (c['a'][0] > 1)); return {'score': c['a']}\n"
    )
    model = dataclasses.replace(python_numbers(tmp_path), artifact=archive(tmp_path, code))
    examples = (Example({"a": 1, "b": 1}), Example({"a": 2, "b": 1}, {"score": 2}))
    manifest = _manifest(model, examples=examples, timeout_seconds=0.5)
    with pytest.raises(HeadwaterError) as refused:
        check_artifact(manifest, model.artifact, settings=InferenceSettings())
    assert refused.value.code == "model_timeout"
    _await_no_nursery()
