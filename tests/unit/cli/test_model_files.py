"""What is read of a model's directory: artifacts, packed code, profiles."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.cli.project.files import collect_model
from headwater.cli.project.models import pack
from headwater.core.errors import HeadwaterError
from headwater.engines.monitoring.profile import Profile

REMOTE = "name: delay\nframework: remote\noptions: {url: 'http://127.0.0.1:9'}\n"
WITH_REFERENCE = """\
name: delay
artifact: model.onnx
reference: sample.parquet
inputs: [{name: distance, logicalType: number, required: true}]
outputs: [{name: score, type: number}]
"""


def write_code(directory: Path) -> Path:
    """Write a package of code with what must not travel beside it."""
    code = directory / "code"
    (code / "parts").mkdir(parents=True)
    (code / "model.py").write_text("class Model: ...\n")
    (code / "parts" / "tables.py").write_text("x = 1\n")
    for left_out in ("__pycache__/model.cpython-311.pyc", ".git/config", ".secret", "parts/old.pyc"):
        (code / left_out).parent.mkdir(exist_ok=True)
        (code / left_out).write_text("no")
    return code


def test_code_packs_to_the_same_bytes_whenever_and_wherever(tmp_path: Path) -> None:
    packed: list[bytes] = []
    for place in ("one", "two"):
        code = write_code(tmp_path / place)
        os.utime(code / "model.py", (len(packed) * 10**9, 10**9))
        (code / "model.py").chmod(0o600 if packed else 0o755)
        packed.append(pack(code).read_bytes())
    assert packed[0] == packed[1]
    with zipfile.ZipFile(pack(tmp_path / "one" / "code")) as archive:
        assert archive.namelist() == ["model.py", "parts/tables.py"]


def test_a_single_file_of_code_is_packed_too(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text("name: delay\nframework: python\nartifact: score.py\n")
    (tmp_path / "score.py").write_text("class Model: ...\n")
    project = collect_model(tmp_path)
    (digest,) = project.artifacts
    assert project.resources["models"][0]["artifact_sha256"] == digest
    with zipfile.ZipFile(project.artifacts[digest]) as archive:
        assert archive.namelist() == ["score.py"]


def test_a_link_that_leads_out_of_the_code_is_refused(tmp_path: Path) -> None:
    code = write_code(tmp_path)
    (code / "passwd.py").symlink_to("/etc/passwd")
    with pytest.raises(HeadwaterError, match="leads out"):
        pack(code)


def test_an_empty_directory_of_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    with pytest.raises(HeadwaterError, match="no file of code"):
        pack(tmp_path / "code")


def test_a_remote_model_has_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(REMOTE)
    project = collect_model(tmp_path)
    assert project.artifacts == {}
    assert "artifact_sha256" not in project.resources["models"][0]


def test_a_reference_becomes_a_profile(tmp_path: Path) -> None:
    (tmp_path / "model.yaml").write_text(WITH_REFERENCE)
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    pq.write_table(pa.table({"distance": [float(n) for n in range(500)]}), tmp_path / "sample.parquet")
    (model,) = collect_model(tmp_path).resources["models"]
    again = collect_model(tmp_path)
    assert again.resources["models"] == [model], "the same reference is the same profile"
    content = again.artifacts[model["profile_sha256"]].read_bytes()
    assert hashlib.sha256(content).hexdigest() == model["profile_sha256"]
    (field,) = Profile.from_bytes(content).fields()
    assert field.rows == 500
    assert field.mean == pytest.approx(249.5)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file sample.parquet"), (b"nonsense", "cannot be read"), (b"", "cannot be read")],
)
def test_a_reference_that_cannot_be_used_is_told(tmp_path: Path, content: bytes | None, message: str) -> None:
    (tmp_path / "model.yaml").write_text(WITH_REFERENCE)
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    if content is not None:
        (tmp_path / "sample.parquet").write_bytes(content)
    with pytest.raises(HeadwaterError) as caught:
        collect_model(tmp_path)
    (error,) = caught.value.extra["errors"]
    assert error["path"] == "reference"
    assert message in error["message"]
