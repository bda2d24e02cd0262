"""Whether the inputs that a model takes from feature views are there, and of a type that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headwater.contracts.model import Field, LogicalType
from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.models import Activation
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredModel, DeclaredView, Project
from headwater.control.features.models import FeatureView
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec

_FITS: Final[Mapping[LogicalType, frozenset[str]]] = {
    LogicalType.STRING: frozenset({"string"}),
    LogicalType.BOOLEAN: frozenset({"boolean"}),
    LogicalType.INTEGER: frozenset({"integer"}),
    LogicalType.NUMBER: frozenset({"number", "integer"}),
}


def check_features(plan: Plan, environment: Environment, project: Project, item: DeclaredModel) -> bool:
    """Refuse references to views or features that will not be there, declared ones counting before stored ones."""
    inputs = {field.name: field for field in item.manifest.inputs.fields}
    found = [
        (position, problem)
        for position, reference in enumerate(item.manifest.features)
        if (problem := _problem(environment, project, reference, inputs[reference.field])) is not None
    ]
    for position, problem in found:
        plan.refuse(item.file.source, f"features[{position}]", problem)
    return not found


def _problem(environment: Environment, project: Project, reference: FeatureRefSpec, field: Field) -> str | None:
    stored = FeatureView.objects.for_org(environment.org_id).filter(environment=environment, archived_at=None)
    declared = project.views.get(reference.view)
    view = stored.filter(name=reference.view).first()
    if declared is None and view is None:
        known = sorted({*stored.values_list("name", flat=True), *project.views})
        return f"there is no feature view {reference.view!r}; there are: {', '.join(known) or 'none yet'}"
    if declared is not None:
        spec = _resolve(environment, project, declared)
    else:
        newest = view.newest if view is not None else None
        spec = newest.spec if newest is not None else None
    if spec is None:
        return None  # the view has errors of its own, which are listed
    if not spec.get("online", True):
        return f"{reference.view!r} is not kept online; set online: true in its file"
    types = {feature["name"]: feature["type"] for feature in spec["features"]}
    if reference.feature not in types:
        return f"{reference.view!r} has no feature {reference.feature!r}; it has: {', '.join(types)}"
    if types[reference.feature] not in _FITS[field.type]:
        return f"the input {field.name!r} is {field.type} and {reference.feature!r} is {types[reference.feature]}"
    return None


def _resolve(environment: Environment, project: Project, declared: DeclaredView) -> Mapping[str, Any] | None:
    name = declared.view.dataset
    if name in project.datasets:
        contract = project.datasets[name].contract
    else:
        active = Activation.objects.for_org(environment.org_id).filter(environment=environment, dataset__name=name)
        activation = active.select_related("contract").first()
        if activation is None:
            return None
        contract = contract_from_spec(activation.contract.spec)
    try:
        return declared.view.resolve(contract)
    except HeadwaterError:
        return None
