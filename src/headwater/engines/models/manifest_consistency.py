"""What members of ``model.yaml`` say about each other: names that must exist, options that a framework has."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import orjson
from pydantic import ValidationError

from headwater.contracts.model import Contract
from headwater.contracts.sections import Problems
from headwater.contracts.validate import compile_contract
from headwater.engines.models.manifest_document import OPTIONS, ManifestDocument, Output

_SUFFIXES: Final = {
    "onnx": ".onnx",
    "sklearn": ".skops",
    "lightgbm": ".txt",
    "xgboost": ".json or .ubj",
    "python": ".py or a directory",
}


def check_consistency(document: ManifestDocument, inputs: Contract, problems: Problems) -> None:
    """Add a problem for everything in ``document`` that does not go with the rest of it."""
    names = [field.name for field in inputs.fields]
    _check_artifact(document, problems)
    _check_options(document, problems)
    _check_outputs(document.outputs, problems)
    _check_features(document, names, problems)
    _check_serving(document, names, problems)
    _check_examples(document, inputs, problems)


def _check_artifact(document: ManifestDocument, problems: Problems) -> None:
    remote = document.framework == "remote"
    if remote and document.artifact is not None:
        problems.add("artifact", "a remote model has no artifact here", "Remove it.")
    if not remote and document.artifact is None:
        cure = f"Add artifact: the name of a file ({_SUFFIXES[document.framework]}) beside this one."
        problems.add("artifact", "is missing", cure)


def _check_options(document: ManifestDocument, problems: Problems) -> None:
    try:
        OPTIONS[document.framework].model_validate(document.options)
    except ValidationError as error:
        for item in error.errors():
            path = ".".join(["options", *map(str, item["loc"])])
            if item["type"] == "extra_forbidden":
                problems.add(path, f"{document.framework} has no such option", "Remove it, or mend its name.")
            elif item["type"] == "missing":
                problems.add(path, "is missing", f"A {document.framework} model needs it.")
            else:
                problems.add(path, f"{item['msg'][0].lower()}{item['msg'][1:]}", "Mend the value.")


def _check_outputs(outputs: Iterable[Output], problems: Problems) -> None:
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


def _check_features(document: ManifestDocument, names: Collection[str], problems: Problems) -> None:
    seen: set[str] = set()
    for position, feature in enumerate(document.features):
        path = f"features[{position}].field"
        if feature.field not in names:
            problems.add(path, f"there is no input {feature.field!r}", f"Name one of {', '.join(names)}.")
        elif feature.field in seen:
            problems.add(path, f"the input {feature.field!r} is filled already", "Remove one of the two.")
        seen.add(feature.field)


def _check_serving(document: ManifestDocument, names: Collection[str], problems: Problems) -> None:
    serving = document.serving
    if serving.sticky_input is not None and serving.sticky_input not in names:
        problems.add(
            "serving.sticky_input", f"there is no input {serving.sticky_input!r}", f"Name one of {', '.join(names)}."
        )
    quality = serving.monitor.quality
    if quality.settle_minutes >= 60 * quality.window_hours:
        cure = "Let window_hours be longer than outcomes take."
        problems.add("serving.monitor.quality.settle_minutes", "leaves nothing of window_hours to judge", cure)
    for position, name in enumerate(serving.log.redact):
        if name not in names:
            path = f"serving.log.redact[{position}]"
            problems.add(path, f"there is no input {name!r}", f"Name some of {', '.join(names)}.")


def _check_examples(document: ManifestDocument, inputs: Contract, problems: Problems) -> None:
    if problems.found:
        return  # inputs that are no sound contract cannot judge rows
    validator = compile_contract(inputs)
    outputs = [output.name for output in document.outputs]
    for position, example in enumerate(document.examples):
        path = f"examples[{position}]"
        try:
            errors = validator.diagnose(orjson.dumps(example.inputs))
        except orjson.JSONEncodeError as error:
            problems.add(f"{path}.inputs", f"is no row: {error}", "Write plain numbers and texts.")
            continue
        for fault in errors:
            place = f"{path}.inputs{fault.path.replace('/', '.')}"
            problems.add(place, fault.message, "An example is a whole row that the inputs accept; mend it.")
        for name in example.outputs or ():
            if name not in outputs:
                cure = f"Name one of {', '.join(outputs)}."
                problems.add(f"{path}.outputs.{name}", f"there is no output {name!r}", cure)
