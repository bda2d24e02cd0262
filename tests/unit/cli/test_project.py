"""A project directory is read as it is, and everything that cannot be read is named at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from rich.console import Console

from headwater.cli.project.files import collect, collect_model, require_artifacts, require_project
from headwater.cli.project.payload import Outcome
from headwater.core.errors import HeadwaterError

MANIFEST = "name: delay\nartifact: model.onnx\n"


def write(root: Path, **files: str | bytes) -> Path:
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_yaml", ".yaml").replace("_sql", ".sql").replace(
            "_onnx", ".onnx"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def test_files_travel_as_they_are_under_their_names_in_the_project(tmp_path: Path) -> None:
    write(
        tmp_path,
        datasets__b_yaml="b: 1",
        datasets__a_yaml="a: ä",
        endpoints__x_sql="/* */ SELECT 1",
        dashboards__d_yaml="title: D",
        features__f_yaml="dataset: a",
        flags__on_yaml="variants: {}",
        policies__p_yaml="dataset: a",
        reviews__r_yaml="for: a",
        models__delay__model_yaml=MANIFEST,
        models__delay__model_onnx=b"\x00onnx",
        notes_yaml="ignored",
    )

    project = collect(tmp_path)

    digest = hashlib.sha256(b"\x00onnx").hexdigest()
    assert project.resources == {
        "datasets": [
            {"source": "datasets/a.yaml", "text": "a: ä"},
            {"source": "datasets/b.yaml", "text": "b: 1"},
        ],
        "endpoints": [{"source": "endpoints/x.sql", "text": "/* */ SELECT 1"}],
        "dashboards": [{"source": "dashboards/d.yaml", "text": "title: D"}],
        "features": [{"source": "features/f.yaml", "text": "dataset: a"}],
        "flags": [{"source": "flags/on.yaml", "text": "variants: {}"}],
        "policies": [{"source": "policies/p.yaml", "text": "dataset: a"}],
        "reviews": [{"source": "reviews/r.yaml", "text": "for: a"}],
        "models": [{"source": "models/delay/model.yaml", "text": MANIFEST, "artifact_sha256": digest}],
    }
    assert project.artifacts == {digest: tmp_path / "models/delay/model.onnx"}


def test_a_model_without_its_artifact_is_set_aside_and_an_apply_says_so(tmp_path: Path) -> None:
    write(tmp_path, models__delay__model_yaml=MANIFEST)

    project = collect(tmp_path)

    assert project.unbuilt == ["models/delay/model.yaml"]
    assert project.resources["models"] == []
    with pytest.raises(HeadwaterError, match="1 error") as caught:
        require_artifacts(project)
    assert caught.value.extra["errors"][0]["path"] == "artifact"
    with pytest.raises(HeadwaterError):
        collect_model(tmp_path / "models" / "delay")


def test_every_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(
        tmp_path,
        datasets__a_yaml=b"\xff\xfe",
        endpoints__x_sql=b"\xff",
        models__delay__model_yaml="name: delay\nartifact: ../../etc/passwd\n",
        models__broken__model_yaml="name: [",
    )

    with pytest.raises(HeadwaterError) as caught:
        collect(tmp_path)

    assert {error["source"] for error in caught.value.extra["errors"]} >= {
        "datasets/a.yaml",
        "endpoints/x.sql",
        "models/delay/model.yaml",
        "models/broken/model.yaml",
    }


def test_a_directory_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(HeadwaterError, match="is not a directory"):
        collect(tmp_path / "nowhere")
    with pytest.raises(HeadwaterError, match=r"model\.yaml"):
        collect_model(tmp_path)


def test_a_directory_with_nothing_of_a_project_is_surely_the_wrong_one(tmp_path: Path) -> None:
    write(tmp_path, notes_yaml="no contract")

    with pytest.raises(HeadwaterError, match=f"{tmp_path} is no project") as caught:
        require_project(tmp_path)

    assert caught.value.hint is not None
    (tmp_path / "datasets").mkdir()
    require_project(tmp_path)


def test_changes_read_as_a_diff(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome(
        {
            "changes": [
                {"kind": "dataset", "name": "flights", "action": "update", "details": ["[note] added"]},
                {"kind": "endpoint", "name": "delays", "action": "unchanged", "details": []},
            ],
            "snapshot": 7,
            "dry_run": False,
        }
    )

    outcome.draw(Console(markup=False, highlight=False, width=100))

    assert capsys.readouterr().out.splitlines() == [
        "~ dataset flights",
        "    [note] added",
        "= endpoint delays",
        "0 created, 1 updated, 1 unchanged; configuration 7",
    ]
