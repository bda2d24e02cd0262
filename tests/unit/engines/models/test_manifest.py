from __future__ import annotations

from pathlib import Path

import pytest

from headwater.contracts.model import LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.manifest import parse_manifest, read_manifest

GOOD = """
name: departure-delay
description: Will the flight leave late?
artifact: delay.onnx
inputs:
  - name: hour
    logicalType: integer
    required: true
    logicalTypeOptions: {minimum: 0, maximum: 23}
  - {name: distance, logicalType: number, required: true}
  - {name: carrier, logicalType: string}
outputs:
  - {name: probability, type: number, source: probabilities, index: 1}
  - {name: vector, type: number, shape: [2]}
metrics: {auc: 0.71}
card: |
  # Departure delay
"""


def test_a_manifest_says_what_goes_in_and_what_comes_out() -> None:
    manifest = parse_manifest(GOOD, source="models/delay/model.yaml")
    assert (manifest.name, manifest.artifact, manifest.framework) == ("departure-delay", "delay.onnx", "onnx")
    assert [(field.name, field.type) for field in manifest.inputs.fields] == [
        ("hour", LogicalType.INTEGER),
        ("distance", LogicalType.NUMBER),
        ("carrier", LogicalType.STRING),
    ]
    assert manifest.inputs.fields[0].constraints.le == 23
    assert [field.required for field in manifest.inputs.fields] == [True, True, False]
    assert (manifest.inputs.on_unknown, manifest.inputs.on_error) == ("quarantine", "reject_batch")
    assert manifest.outputs[0] == OutputSpec(name="probability", type="number", source="probabilities", index=1)
    assert manifest.outputs[1].shape == (2,)
    assert manifest.metrics == {"auc": 0.71}
    assert manifest.card == "# Departure delay\n"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (GOOD, "", "the file is empty"),
        (GOOD, "- a\n- b", "must be a mapping"),
        (GOOD, "name: [", "yaml:1: not valid YAML"),
        ("name: departure-delay", "name: Departure Delay", "name: "),
        ("name: departure-delay\n", "", "name: is missing"),
        ("artifact: delay.onnx", "artifact: ../../etc/passwd", "artifact: "),
        ("artifact: delay.onnx", "artifact: delay.onnx\nframework: pickle", "framework: "),
        ("metrics:", "metric:", "metric: there is no such entry"),
        ("{auc: 0.71}", "{auc: high}", "metrics.auc: "),
        ("logicalType: integer", "logicalType: timestamp", "a model cannot take timestamp"),
        ("logicalType: integer", "logicalType: complex", "yaml:7: inputs[0].logicalType"),
        ("name: distance", "name: HOUR", "yaml:10: inputs[1]: 'HOUR' is taken by 'hour'"),
        ("name: vector", "name: probability", "yaml:14: outputs[1].name: 'probability' is the name of outputs[0] too"),
        ("shape: [2]", "shape: [0]", "outputs[1].shape"),
        ("shape: [2]", "shape: [2], index: 1", "outputs[1].index: an index picks a scalar"),
        ("type: number, shape", "type: money, shape", "outputs[1].type"),
        ("index: 1", "index: -1", "outputs[0].index"),
        ("index: 1", "column: 1", "outputs[0].column: there is no such entry"),
    ],
)
def test_a_mistake_names_the_file_the_place_and_the_cure(old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(HeadwaterError) as refused:
        parse_manifest(GOOD.replace(old, new), source="models/delay/model.yaml")
    shown = f"{refused.value.detail} {refused.value.extra}"
    assert "models/delay/model.yaml" in shown
    assert complaint in shown
    assert refused.value.code == "project_invalid"
    assert refused.value.hint


def test_all_mistakes_of_a_kind_are_listed_with_their_lines() -> None:
    text = GOOD.replace("type: number, shape: [2]", "type: money, shape: many").replace("metrics:", "metric:")
    with pytest.raises(HeadwaterError) as refused:
        parse_manifest(text, source="model.yaml")
    assert [(error["line"], error["path"]) for error in refused.value.extra["errors"]] == [
        (14, "outputs[1].type"),
        (14, "outputs[1].shape"),
        (15, "metric"),
    ]


def test_a_directory_is_read_with_its_artifact(tmp_path: Path) -> None:
    with pytest.raises(HeadwaterError, match="cannot be read") as refused:
        read_manifest(tmp_path)
    assert "model.yaml" in str(refused.value.hint)
    (tmp_path / "model.yaml").write_text(GOOD)
    with pytest.raises(HeadwaterError, match=r"there is no file .*delay\.onnx"):
        read_manifest(tmp_path)
    (tmp_path / "delay.onnx").write_bytes(b"x")
    assert read_manifest(tmp_path).name == "departure-delay"
    (tmp_path / "model.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(HeadwaterError, match="cannot be read"):
        read_manifest(tmp_path)
