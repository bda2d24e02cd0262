"""``headwater models test``: a directory is tried in a process of its own, without any server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.builders.onnx_models import linear

from headwater.cli import main as entry

MODEL = """\
name: delay
artifact: model.onnx
license: MIT
inputs:
  - {{name: a, logicalType: number, required: true}}
  - {{name: b, logicalType: number, required: true}}
outputs:
  - {{name: score, type: number}}
examples:
  - {{inputs: {{a: 1.0, b: 2.0}}, outputs: {{score: {score}}}}}
checks: {{max_size_mb: {size}}}
"""
CODE = """\
name: doubled
framework: python
artifact: code
inputs: [{name: a, logicalType: number, required: true}]
outputs: [{name: twice, type: number}]
examples: [{inputs: {a: 2.0}, outputs: {twice: 4.0}}]
"""


def write(directory: Path, *, score: float = 5.0, size: float = 1.0) -> Path:
    (directory / "model.yaml").write_text(MODEL.format(score=score, size=size))
    (directory / "model.onnx").write_bytes(linear([1.0, 2.0]))
    return directory


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        entry.main(["models", "test", *arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_what_a_model_showed_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(write(tmp_path))) == 0

    text = capsys.readouterr().out
    assert "delay (onnx)" in text
    assert "100 rows at once" in text
    assert "passed  golden_rows  1 row within tolerance" in text
    assert "failed  training_data" in text, "which only an approval asks for"


def test_a_directory_is_named_from_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    write(tmp_path / "models")
    monkeypatch.chdir(tmp_path)

    assert run("models") == 0


def test_machines_get_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(write(tmp_path)), "--json") == 0

    document = json.loads(capsys.readouterr().out)
    assert document["size_bytes"] == (tmp_path / "model.onnx").stat().st_size
    assert set(document["latency_us"]) == {"1", "100"}
    assert all(0 < us < 1_000_000 for us in document["latency_us"].values())
    assert document["pickle"] is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": 6.0}, "examples[0]: score is 5.0 and should be 6.0"),
        ({"size": 0.00001}, "failed  size"),
    ],
)
def test_what_does_not_hold_what_it_asks_of_itself_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, float], told: str
) -> None:
    assert run(str(write(tmp_path, **changes))) == 1

    assert told in capsys.readouterr().out


def test_code_is_packed_and_run_as_it_would_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.yaml").write_text(CODE)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "model.py").write_text(
        "class Model:\n"
        "    def __init__(self, directory): ...\n"
        "    def predict(self, columns):\n"
        "        return {'twice': columns['a'] * 2}\n"
    )
    assert run(str(tmp_path)) == 0

    assert "passed  golden_rows" in capsys.readouterr().out


def test_an_artifact_that_cannot_be_loaded_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    assert run(str(tmp_path)) == 1

    told = capsys.readouterr().err
    assert "model_unavailable" in told
    assert "Traceback" not in told
