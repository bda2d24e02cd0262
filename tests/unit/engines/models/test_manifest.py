from __future__ import annotations

from pathlib import Path

import pytest

from headwater.contracts.model import LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.monitoring_specs import QualitySpec
from headwater.core.snapshot import FeatureRefSpec, LogSpec, OutputSpec, RollbackSpec
from headwater.engines.models import manifest
from headwater.engines.models.manifest import Checks, Example, Training, parse_manifest, read_manifest

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


FULL = """
name: delay
framework: sklearn
artifact: model.skops
license: Apache-2.0
options: {method: predict_proba}
inputs:
  - {name: hour, logicalType: integer, required: true, logicalTypeOptions: {minimum: 0, maximum: 23}}
  - {name: wind, logicalType: number, required: true}
outputs:
  - {name: late, type: number, index: 1}
features:
  - {field: wind, view: origin_weather, feature: wind}
examples:
  - {inputs: {hour: 5, wind: 1.5}, outputs: {late: 0.25}, tolerance: 0.01}
  - {inputs: {hour: 23, wind: 0}}
training: {dataset: flights, version: 12, code: 3f2a1b, rows: 1000}
metrics: {auc: 0.71}
reference: reference.parquet
resources: {memory_mb: 1024, timeout_seconds: 5}
serving:
  max_concurrency: 8
  sticky_input: hour
  cache_entries: 100
  log: {sample_bps: 5000, on_full: block, redact: [wind]}
  rollback: {max_error_bps: 100, max_p99_ms: 50}
  monitor: {psi: 0.1, quality: {min_auc: 0.7, max_bias: 2}}
checks: {max_latency_ms: 5, max_size_mb: 10, min_metrics: {auc: 0.6}}
"""


def test_a_manifest_may_say_all_there_is_to_a_model() -> None:
    manifest = parse_manifest(FULL, source="model.yaml")
    assert (manifest.framework, manifest.options, manifest.license) == (
        "sklearn",
        {"method": "predict_proba"},
        "Apache-2.0",
    )
    assert manifest.features == (FeatureRefSpec(field="wind", view="origin_weather", feature="wind"),)
    assert manifest.examples == (
        Example({"hour": 5, "wind": 1.5}, {"late": 0.25}, 0.01),
        Example({"hour": 23, "wind": 0}),
    )
    assert manifest.training == Training("flights", 12, "3f2a1b", 1000)
    assert (manifest.memory_bytes, manifest.timeout_seconds, manifest.reference) == (1 << 30, 5, "reference.parquet")
    assert manifest.serving.log == LogSpec(sample_bps=5000, on_full="block", redact=("wind",))
    assert manifest.serving.rollback == RollbackSpec(max_error_bps=100, max_p99_ms=50)
    assert (manifest.serving.monitor.psi, manifest.serving.monitor.js) == (0.1, None)
    assert manifest.serving.monitor.quality == QualitySpec(min_auc=0.7, max_bias=2)
    assert manifest.checks == Checks(5, 10, {"auc": 0.6})
    remote = FULL.replace("sklearn", "remote").replace("artifact: model.skops\n", "")
    remote = remote.replace("{method: predict_proba}", "{url: 'http://models:8080', model: delay}")
    assert parse_manifest(remote, source="model.yaml").artifact is None


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("artifact: model.skops\n", "", "artifact: is missing"),
        ("framework: sklearn", "framework: remote", "artifact: a remote model has no artifact"),
        ("framework: sklearn", "framework: remote", "options.url: is missing"),
        ("framework: sklearn", "framework: lightgbm", "options.method: lightgbm has no such option"),
        ("framework: sklearn", "framework: python", "options.method: python has no such option"),
        ("method: predict_proba", "method: 5", "options.method: "),
        ("field: wind", "field: rain", "features[0].field: there is no input 'rain'"),
        ("features:", "features:\n  - {field: wind, view: v, feature: f}", "features[1].field: the input 'wind' is"),
        ("hour: 5", "hour: 24", "examples[0].inputs.hour: must be <= 23"),
        ("hour: 5", "hour: x", "examples[0].inputs.hour"),
        ("{hour: 23, wind: 0}", "{hour: 23}", "examples[1].inputs.wind"),
        ("{hour: 23, wind: 0}", "{hour: 23, wind: 0, rain: 1}", "examples[1].inputs.rain"),
        ("{late: 0.25}", "{early: 0.25}", "examples[0].outputs.early: there is no output 'early'"),
        ("tolerance: 0.01", "tolerance: -1", "examples[0].tolerance"),
        ("sticky_input: hour", "sticky_input: day", "serving.sticky_input: there is no input 'day'"),
        ("redact: [wind]", "redact: [rain]", "serving.log.redact[0]: there is no input 'rain'"),
        ("sample_bps: 5000", "sample_bps: 50000", "serving.log.sample_bps"),
        ("max_concurrency: 8", "max_concurrency: 0", "serving.max_concurrency"),
        ("max_concurrency: 8", "concurrency: 8", "serving.concurrency: there is no such entry"),
        ("min_auc: 0.7", "min_auc: 7", "serving.monitor.quality.min_auc"),
        ("min_auc: 0.7", "max_auc: 0.7", "serving.monitor.quality.max_auc: there is no such entry"),
        ("min_auc: 0.7", "settle_minutes: 60, window_hours: 1", "serving.monitor.quality.settle_minutes: leaves noth"),
        ("{psi: 0.1", "{psi: 0.1, hellinger: 1", "serving.monitor.hellinger: there is no such entry"),
        ("memory_mb: 1024", "memory_mb: 1", "resources.memory_mb"),
        ("timeout_seconds: 5", "timeout_seconds: .inf", "resources.timeout_seconds"),
        ("reference: reference.parquet", "reference: ../x.csv", "reference: "),
        ("dataset: flights, ", "", "training.dataset: is missing"),
        ("max_latency_ms: 5", "max_latency_ms: -5", "checks.max_latency_ms"),
    ],
)
def test_members_that_do_not_go_together_are_told_apart(old: str, new: str, complaint: str) -> None:
    assert old in FULL
    with pytest.raises(HeadwaterError) as refused:
        parse_manifest(FULL.replace(old, new), source="model.yaml")
    errors = [f"{error['path']}: {error['message']}" for error in refused.value.extra["errors"]]
    assert any(complaint in error for error in errors), errors


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


def test_an_artifact_that_is_too_large_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.yaml").write_text(GOOD)
    (tmp_path / "delay.onnx").write_bytes(b"123456")
    read_manifest(tmp_path)
    monkeypatch.setattr(manifest, "MAX_ARTIFACT_BYTES", 5)
    with pytest.raises(HeadwaterError, match=r"artifact: .*delay\.onnx has more than 5 bytes") as refused:
        read_manifest(tmp_path)
    assert refused.value.hint == "Make it smaller."
