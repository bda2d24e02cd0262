"""``model.yaml``: what a model directory says about itself. Every complaint names the file, the place and the cure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.contracts.model import Contract
from headwater.contracts.odcs import parse_contract
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.log_schema import INPUT_PREFIX, OUTPUT_PREFIX
from headwater.engines.models.protocol import INPUT_TYPES

FILE_NAME: Final = "model.yaml"
MAX_ARTIFACT_BYTES: Final = 512 << 20
_PREFIX: Final = re.compile(r"schema(?:\[0\]|/0|\.0)[./]properties")


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
        raise _invalid(str(path), "", f"it cannot be read: {error}", "a model directory has a model.yaml") from error
    manifest = parse_manifest(text, source=str(path))
    artifact = directory / manifest.artifact
    if not artifact.is_file():
        raise _invalid(str(path), "artifact", f"there is no file {artifact}", "train the model, or mend the name")
    if artifact.stat().st_size > MAX_ARTIFACT_BYTES:
        raise _invalid(str(path), "artifact", f"{artifact} has more than {MAX_ARTIFACT_BYTES} bytes", "make it smaller")
    return manifest


def parse_manifest(text: str, *, source: str) -> ModelManifest:
    """Read the text of a ``model.yaml``; ``source`` is its name in errors, which are as in ``read_manifest``."""
    document = _load(text, source)
    inputs = _parse_inputs(document, source)
    outputs = tuple(OutputSpec.model_validate(output.model_dump()) for output in document.outputs)
    _check_names([output.name for output in outputs], source, "outputs")
    for position, output in enumerate(outputs):
        if output.index is not None and output.shape:
            raise _invalid(source, f"outputs[{position}]", "an index picks a scalar, and it has a shape", "drop one")
        if any(size < 1 for size in output.shape):
            raise _invalid(source, f"outputs[{position}].shape", "every size must be at least 1", "mend the shape")
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


def _load(text: str, source: str) -> _Document:
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark is not None else ""
        raise _invalid(source, place, f"it is not YAML: {getattr(error, 'problem', error)}", "mend the line") from error
    if not isinstance(plain, dict):
        raise _invalid(source, "", "it must be a mapping", "begin with 'name: …'")
    try:
        return _Document.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        if first["type"] == "extra_forbidden":
            raise _invalid(source, place, "there is no such entry", "remove it, or mend its name") from error
        raise _invalid(source, place, first["msg"], f"got {str(first['input'])[:80]!r}") from error


def _parse_inputs(document: _Document, source: str) -> Contract:
    """Return the inputs as a contract that refuses unknown fields and bad rows as a whole."""
    wrapped = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": document.name,
        "name": document.name,
        "version": "1.0.0",
        "status": "active",
        "schema": [{"name": document.name.replace("-", "_"), "properties": document.inputs}],
    }
    try:
        contract = parse_contract(yaml.safe_dump(wrapped, sort_keys=False), source=source)
    except HeadwaterError as error:
        error.detail = _PREFIX.sub("inputs", error.detail)
        error.args = (error.detail,)
        raise
    _check_names([item.name for item in contract.fields], source, "inputs")
    for position, item in enumerate(contract.fields):
        if item.type not in INPUT_TYPES:
            raise _invalid(
                source,
                f"inputs[{position}]",
                f"{item.name!r} is {item.type}, which a model cannot take",
                f"use one of {', '.join(sorted(INPUT_TYPES))}",
            )
    return replace(contract, on_unknown="quarantine", on_error="reject_batch", dedup=None, event_time=None)


def _check_names(names: list[str], source: str, place: str) -> None:
    seen: dict[str, int] = {}
    for position, name in enumerate(names):
        # The log has one column for each, and column names of tables do not tell case apart.
        first = seen.setdefault(name.lower(), position)
        if first != position:
            prefix = INPUT_PREFIX if place == "inputs" else OUTPUT_PREFIX
            raise _invalid(
                source,
                f"{place}[{position}]",
                f"{name!r} and {place}[{first}] would both be logged as {prefix}{name.lower()}",
                "rename one",
            )


def _invalid(source: str, place: str, detail: str, hint: str) -> HeadwaterError:
    where = f"{source}: {place}: " if place else f"{source}: "
    return HeadwaterError(
        "project_invalid",
        where + detail,
        hint=hint,
        extra={"errors": [{"source": source, "path": place, "message": detail}]},
    )
