"""``model.yaml``: what a model directory says about itself. Every complaint names the file, the place and the cure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.contracts.model import Contract
from headwater.contracts.odcs_fields import FieldReader
from headwater.contracts.sections import Problems
from headwater.contracts.soundness import find_defects
from headwater.contracts.yamltree import Document, YamlFault, load
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.protocol import INPUT_TYPES

FILE_NAME: Final = "model.yaml"
MAX_ARTIFACT_BYTES: Final = 512 << 20


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """A model directory, read and checked.

    Attributes:
        name: the model's name.
        inputs: one row of the model's input, in the order of the signature.
        outputs: what it answers, named.
        artifact: the artifact's file name, in the directory.
        framework: what runs it.
        metrics: numbers of its evaluation, for people.
        card: Markdown about the model, for people.
    """

    name: str
    inputs: Contract
    outputs: tuple[OutputSpec, ...]
    artifact: str
    framework: str = "onnx"
    description: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    card: str = ""


class _Output(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    type: str = Field(pattern="^(number|integer|string|boolean)$")
    shape: tuple[int, ...] = Field((), max_length=3)
    description: str = ""
    source: str | None = None
    index: int | None = Field(None, ge=0)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    description: str = ""
    framework: str = Field("onnx", pattern="^onnx$")
    artifact: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,200}$")
    inputs: list[dict[str, Any]] = Field(min_length=1)
    outputs: list[_Output] = Field(min_length=1)
    metrics: dict[str, float] = {}
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
    artifact = directory / manifest.artifact
    if not artifact.is_file():
        raise _invalid(str(path), f"there is no file {artifact}", "Train the model, or mend artifact.", "artifact")
    if artifact.stat().st_size > MAX_ARTIFACT_BYTES:
        raise _invalid(
            str(path), f"{artifact} has more than {MAX_ARTIFACT_BYTES} bytes", "Make it smaller.", "artifact"
        )
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
    outputs = tuple(OutputSpec.model_validate(output.model_dump()) for output in document.outputs)
    _check_outputs(outputs, problems)
    _raise_any(problems)
    return ModelManifest(
        name=document.name,
        inputs=inputs,
        outputs=outputs,
        artifact=document.artifact,
        framework=document.framework,
        description=document.description,
        metrics=document.metrics,
        card=document.card,
    )


def _read_document(tree: Document, problems: Problems) -> _Document:
    """Return the manifest's members; inputs are only known to be mappings."""
    if not isinstance(tree.data, dict):
        problems.add("", "must be a mapping", "Begin with a line such as name: delay.")
        _raise_any(problems)
    try:
        return _Document.model_validate(tree.data)
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


def _read_inputs(document: _Document, problems: Problems) -> Contract:
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


def _check_outputs(outputs: Iterable[OutputSpec], problems: Problems) -> None:
    seen: dict[str, int] = {}
    for position, output in enumerate(outputs):
        path = f"outputs[{position}]"
        first = seen.setdefault(output.name, position)
        if first != position:
            problems.add(f"{path}.name", f"{output.name!r} is the name of outputs[{first}] too", "Rename one.")
        if output.index is not None and output.shape:
            problems.add(f"{path}.index", "an index picks a scalar, and the output has a shape", "Drop one of them.")
        if any(size < 1 for size in output.shape):
            problems.add(f"{path}.shape", "every size must be at least 1", "Leave the axis of the rows out.")


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
