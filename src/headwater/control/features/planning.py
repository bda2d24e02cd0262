"""What applying a project would change about its feature views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headwater.contracts.model import Contract
from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.digest import sha256_of
from headwater.control.catalog.models import Activation
from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredView, Project, errors_in
from headwater.control.features.actions import publish_view
from headwater.control.features.models import FeatureView
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.definition import ViewFile, parse_view
from headwater.engines.features.layout import layout_of

_PLAIN: Final = (
    "dataset",
    "entities",
    "event_time",
    "freshness_seconds",
    "delay_seconds",
    "as_received",
    "online",
    "on_unavailable",
)


def plan_views(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every view of a project directory, held against the contracts that the environment will have afterwards.

    Views that the directory does not have are checked as well when it changes their dataset's contract.
    """
    contracts = _contracts(environment, project)
    views = FeatureView.objects.for_org(environment.org_id).filter(environment=environment)
    existing = {view.name: view for view in views}
    for name, item in project.views.items():
        spec = _resolve(plan, item.file.source, item.view, contracts)
        if spec is not None:
            _plan_view(plan, environment, existing.get(name), item, spec)
    for name, view in existing.items():
        if name not in project.views and view.archived_at is None:
            _check_undeclared(plan, view, contracts, project)
            plan.add("features", name, "unchanged", "not in the project directory; left alone (archive it to stop it)")


def _contracts(environment: Environment, project: Project) -> dict[str, Contract]:
    active = Activation.objects.for_org(environment.org_id).filter(environment=environment)
    contracts = {
        activation.dataset.name: contract_from_spec(activation.contract.spec)
        for activation in active.select_related("dataset", "contract")
    }
    return contracts | {name: item.contract for name, item in project.datasets.items()}


def _resolve(plan: Plan, source: str, view: ViewFile, contracts: Mapping[str, Contract]) -> dict[str, Any] | None:
    """Return the view's spec, or None once the plan has the reason why there is none."""
    contract = contracts.get(view.dataset)
    if contract is None:
        known = ", ".join(sorted(contracts)) or "none yet"
        plan.refuse(source, "dataset", f"there is no dataset {view.dataset!r}; there are: {known}")
        return None
    try:
        return view.resolve(contract)
    except HeadwaterError as error:
        plan.errors += errors_in(source, error)
        return None


def _plan_view(
    plan: Plan, environment: Environment, view: FeatureView | None, item: DeclaredView, spec: dict[str, Any]
) -> None:
    newest = None if view is None else view.newest
    details: list[str] = []
    if newest is None:
        details += ["revision 1", f"{len(spec['features'])} features of {spec['dataset']}"]
    elif newest.spec_sha256 != sha256_of(spec):
        details += [f"revision {newest.number + 1}", *_differences(newest.spec, spec)]
    if view is not None and view.archived_at is not None:
        details.append("is served again")
    if not details:
        plan.add("features", item.view.name, "unchanged")
        return

    def step(actor: Actor) -> None:
        publish_view(actor=actor, environment=environment, spec=spec, source=item.file.text)

    plan.add("features", item.view.name, "create" if view is None else "update", *details, step=step)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what changed, and what that means for the state kept online."""
    found = [f"{name}: {old.get(name)} → {new.get(name)}" for name in _PLAIN if old.get(name) != new.get(name)]
    before = {feature["name"]: feature for feature in old["features"]}
    after = {feature["name"]: feature for feature in new["features"]}
    found += [f"feature {name} added" for name in after if name not in before]
    found += [f"feature {name} removed" for name in before if name not in after]
    found += [f"feature {name} changed" for name in after if name in before and before[name] != after[name]]
    if old.get("inputs") != new["inputs"]:
        found.append("inputs changed")
    if _digest(old) != _digest(new) and new["online"]:
        found.append("its online state is built anew; reads answer 503 until it is there")
    return found or ["its description changed"]


def _digest(spec: Mapping[str, Any]) -> str:
    return layout_of(FeatureViewSpec.model_validate({**spec, "id": "", "revision": 0})).digest


def _check_undeclared(plan: Plan, view: FeatureView, contracts: Mapping[str, Contract], project: Project) -> None:
    newest = view.newest
    if newest is None or newest.spec["dataset"] not in project.datasets:
        return
    source = f"feature view {view.name} (not in the directory)"
    _resolve(plan, source, parse_view(newest.source, source=f"features/{view.name}.yaml"), contracts)
