"""``model.yaml``: what a model directory says about itself. Every complaint names the file, the place and the cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from headwater.contracts.model import Contract
from headwater.contracts.odcs_fields import FieldReader
from headwater.contracts.sections import Problems
from headwater.contracts.soundness import find_defects
from headwater.contracts.yamltree import Document, YamlFault, load
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec, OutputSpec, ServingSpec
from headwater.engines.models.manifest_consistency import check_consistency
from headwater.engines.models.manifest_document import Framework, ManifestDocument
from headwater.engines.models.protocol import INPUT_TYPES

FILE_NAME: Final = "model.yaml"
MAX_ARTIFACT_BYTES: Final = 512 << 20


@dataclass(frozen=True, slots=True)
class Example:
    """A golden row: inputs by name and, where they are known, the outputs within ``tolerance`` of what they must be."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any] | None = None
    tolerance: float = 1e-4


@dataclass(frozen=True, slots=True)
class Training:
    """What a model was trained on: a dataset, its table version, the code (a commit or address), the number of rows."""

    dataset: str
    version: int | None = None
    code: str | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Checks:
    """What a version must hold before it may be approved; what is None is not asked."""

    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    min_metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """A model directory, read and checked.

    Attributes:
        name: the model's name.
        inputs: one row of the model's input, in the order of the signature.
        outputs: what it answers, named.
        artifact: the artifact's file name, in the directory (a directory too for Python code); None when it is remote.
        framework: what runs it.
        options: the framework's own.
        features: inputs that are filled from feature views.
        examples: golden rows.
        training: what it was trained on.
        metrics: numbers of its evaluation.
        license: of the model, as SPDX writes it.
        reference: the file name of a sample of its training data, with inputs and outputs by name.
        memory_bytes: what its process may use beyond what the runtime itself takes.
        timeout_seconds: how long one run may take.
        serving: limits, cache, log and monitoring.
        checks: what it must hold before it is approved.
        card: Markdown about the model, for people.
    """

    name: str
    inputs: Contract
    outputs: tuple[OutputSpec, ...]
    artifact: str | None
    framework: Framework = "onnx"
    description: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[FeatureRefSpec, ...] = ()
    examples: tuple[Example, ...] = ()
    training: Training | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    license: str | None = None
    reference: str | None = None
    memory_bytes: int = 2 << 30
    timeout_seconds: float = 30.0
    serving: ServingSpec = field(default_factory=ServingSpec)
    checks: Checks = Checks()
    card: str = ""


def read_manifest(directory: Path) -> ModelManifest:
    """Read ``model.yaml`` of a directory and check that its artifact is there.

    Raises:
        HeadwaterError: ``project_invalid`` naming the file, the place and the cure.
    """
    path = directory / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(
            str(path), f"it cannot be read: {error}", "Put a model.yaml into the model's directory."
        ) from error
    manifest = parse_manifest(text, source=str(path))
    for member, name in (("artifact", manifest.artifact), ("reference", manifest.reference)):
        if name is not None:
            _require_file(path, member, directory / name, may_be_directory=manifest.framework == "python")
    return manifest


def parse_manifest(text: str, *, source: str) -> ModelManifest:
    """Read the text of a ``model.yaml``.

    Args:
        text: the file.
        source: its name, for errors.

    Raises:
        HeadwaterError: ``project_invalid``; ``extra["errors"]`` lists every error with ``source``, ``line``, ``path``,
            ``message`` and ``cure``.
    """
    try:
        tree = load(text)
    except YamlFault as fault:
        raise _invalid(source, str(fault), "Correct the YAML at this line.", line=fault.line) from fault
    problems = Problems(source, tree)
    document = _read_document(tree, problems)
    inputs = _read_inputs(document, problems)
    check_consistency(document, inputs, problems)
    _raise_any(problems)
    return _manifest(document, inputs)


def _manifest(document: ManifestDocument, inputs: Contract) -> ModelManifest:
    training = document.training
    return ModelManifest(
        name=document.name,
        inputs=inputs,
        outputs=tuple(OutputSpec.model_validate(output.model_dump()) for output in document.outputs),
        artifact=document.artifact,
        framework=document.framework,
        description=document.description,
        options=document.options,
        features=tuple(FeatureRefSpec.model_validate(feature.model_dump()) for feature in document.features),
        examples=tuple(Example(**example.model_dump()) for example in document.examples),
        training=Training(**training.model_dump()) if training is not None else None,
        metrics=document.metrics,
        license=document.license,
        reference=document.reference,
        memory_bytes=document.resources.memory_mb << 20,
        timeout_seconds=document.resources.timeout_seconds,
        serving=document.serving.to_spec(),
        checks=Checks(**document.checks.model_dump()),
        card=document.card,
    )


def _read_document(tree: Document, problems: Problems) -> ManifestDocument:
    """Return the manifest's members; inputs are only known to be mappings."""
    if not isinstance(tree.data, dict):
        problems.add("", "must be a mapping", "Begin with a line such as name: delay.")
        _raise_any(problems)
    try:
        return ManifestDocument.model_validate(tree.data)
    except ValidationError as error:
        for item in error.errors():
            path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
            if item["type"] == "extra_forbidden":
                problems.add(path, "there is no such entry", "Remove it, or mend its name.")
            elif item["type"] == "missing":
                problems.add(path, "is missing", f"Add {item['loc'][-1]}.")
            else:
                message = f"{item['msg'][0].lower()}{item['msg'][1:]}"
                problems.add(path, message, f"Mend the value {str(item['input'])[:80]!r}.")
        _raise_any(problems)
        raise


def _read_inputs(document: ManifestDocument, problems: Problems) -> Contract:
    """Return the inputs as a contract that refuses unknown fields, and bad rows as a whole."""
    reader = FieldReader(problems)
    contract = Contract(
        name=document.name.replace("-", "_"),
        version="1.0",
        fields=reader.read_all(document.inputs, "inputs", "fields"),
        description=document.description,
        on_unknown="quarantine",
        on_error="reject_batch",
    )
    _raise_any(problems)
    for defect in find_defects(contract):
        problems.add(reader.places.get(defect.path, "inputs"), defect.message, defect.cure)
    for position, item in enumerate(contract.fields):
        if item.type not in INPUT_TYPES:
            known = ", ".join(sorted(INPUT_TYPES))
            problems.add(f"inputs[{position}].logicalType", f"a model cannot take {item.type}", f"Use one of {known}.")
    return contract


def _require_file(manifest: Path, member: str, path: Path, *, may_be_directory: bool) -> None:
    if may_be_directory and member == "artifact" and path.is_dir():
        return
    if not path.is_file():
        raise _invalid(str(manifest), f"there is no file {path}", f"Train the model, or mend {member}.", member)
    if path.stat().st_size > MAX_ARTIFACT_BYTES:
        raise _invalid(str(manifest), f"{path} has more than {MAX_ARTIFACT_BYTES} bytes", "Make it smaller.", member)


def _raise_any(problems: Problems) -> None:
    """Raise what was found, if anything was: what is wrong is a file of the project."""
    try:
        problems.raise_any()
    except HeadwaterError as error:
        raise HeadwaterError("project_invalid", error.detail, hint=error.hint, extra=error.extra) from error


def _invalid(source: str, message: str, cure: str, path: str = "", line: int = 1) -> HeadwaterError:
    where = f"{source}:{line}: {path}: " if path else f"{source}:{line}: "
    entry = {"source": source, "line": line, "path": path, "message": message, "cure": cure}
    return HeadwaterError("project_invalid", where + message, hint=cure, extra={"errors": [entry]})
