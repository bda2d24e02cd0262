"""Whether an override can be served: its output, key and value against the model's signature."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from headwater.contracts.model import Contract, LogicalType
from headwater.contracts.spec import contract_from_spec
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Deployment, Model, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.overrides import MAX_KEY_NAMES, key_text
from headwater.core.snapshot import OutputSpec

MAX_KEY_TEXT: Final = 2_000
MAX_TEXT: Final = 1_000


def find_model(environment: Environment, name: str) -> Model:
    """Return a model of the environment's project; raises ``model_not_found`` with what there is."""
    rows = Model.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    found: Model | None = rows.filter(name=name).first()
    if found is None:
        known = ", ".join(rows.order_by("name").values_list("name", flat=True)[:20])
        raise HeadwaterError(
            "model_not_found", f"there is no model {name[:80]!r}", hint=f"there are: {known}" if known else None
        )
    return found


def served_versions(environment: Environment, model: Model) -> list[ModelVersion]:
    """Return the versions of a model that an environment serves, its newest one where it serves none."""
    rows = Deployment.objects.for_org(environment.org_id).filter(environment=environment, model=model)
    versions = [row.version for row in rows.select_related("version").order_by("version__number")]
    if versions:
        return versions
    newest = ModelVersion.objects.for_org(model.org_id).filter(model=model).order_by("-number").first()
    return [newest] if newest is not None else []


def check_output(versions: Iterable[ModelVersion], output: str, value: Any) -> None:
    """Raise ``invalid_parameter`` unless every version has the output, as one value, of the type of ``value``."""
    for version in versions:
        specs = {spec["name"]: OutputSpec.model_validate(spec) for spec in version.outputs}
        spec = specs.get(output)
        if spec is None:
            raise _refuse("output", f"{version} has no output {output[:80]!r}", f"it has {', '.join(specs)}")
        if spec.shape:
            raise _refuse("output", f"{output!r} of {version} is a list", "only single values can be overridden")
        if not _is_of(spec.type, value):
            raise _refuse("value", f"{output!r} of {version} is a {spec.type}, not {value!r}"[:300], None)


def check_key(versions: Iterable[ModelVersion], by: str, key: Mapping[str, Any]) -> str:
    """Return the canonical text of a key; raises ``invalid_parameter`` for one that can fit no row of some version."""
    if not key or len(key) > MAX_KEY_NAMES:
        raise _refuse("key", f"it names {len(key)} values", f"name between 1 and {MAX_KEY_NAMES}")
    for name, value in key.items():
        if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
            raise _refuse("key", f"{name!r} must be a text, a number or a boolean", None)
    if by == "inputs":
        for version in versions:
            _check_inputs(version, contract_from_spec(version.inputs), key)
    text = key_text(by, key)
    if len(text) > MAX_KEY_TEXT:
        raise _refuse("key", f"it is {len(text)} characters long", f"at most {MAX_KEY_TEXT}")
    return text


def _check_inputs(version: ModelVersion, contract: Contract, key: Mapping[str, Any]) -> None:
    fields = {field.name: field for field in contract.fields}
    for name, value in key.items():
        field = fields.get(name)
        if field is None:
            raise _refuse("key", f"{version} has no input {name[:80]!r}", f"it has {', '.join(fields)[:300]}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {LogicalType.STRING: isinstance(value, str), LogicalType.BOOLEAN: isinstance(value, bool)}
        if not fits.get(field.type, is_number):
            raise _refuse("key", f"input {name!r} of {version} is a {field.type.value}, not {value!r}"[:300], None)


def _is_of(kind: str, value: Any) -> bool:
    match kind:
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str) and len(value) <= MAX_TEXT
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(member: str, what: str, hint: str | None) -> HeadwaterError:
    return HeadwaterError(
        "invalid_parameter", f"{member}: {what}", hint=hint, extra={"errors": [{"path": member, "message": what}]}
    )
