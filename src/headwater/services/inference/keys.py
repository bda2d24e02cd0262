"""What an entity may say of itself, and which of its keys go into the prediction log.

These are what features were fetched by, so that they can be computed again.
A key whose parts are not all public, by the dataset's contract or by the model's own rules, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headwater.contracts.spec import contract_from_spec
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec, ModelSpec, Snapshot

_PUBLIC: Final = "public"


class LoggedKeys:
    """What of entities is read, and logged, of one model in one configuration.

    ``known`` are the names that any of its versions reads of an entity, so that a request may serve two of them; None
    where a view is not there to say.
    """

    def __init__(
        self, names: Mapping[str, Sequence[str]], revisions: Mapping[str, int], known: frozenset[str] | None = None
    ) -> None:
        """Log ``names`` of an entity by view, beside the revision of the view that they were read from."""
        self.known = known
        self._names = names
        self._revisions = revisions

    def of(self, needs: Sequence[FeatureRefSpec], entity: Mapping[str, Any], now_us: int) -> dict[str, Sequence[Any]]:
        """Return by view what ``needs`` were fetched by: the key, as of which microsecond, and the view's revision."""
        views = dict.fromkeys(need.view for need in needs)
        return {
            view: ({name: entity.get(name) for name in self._names[view]}, now_us, self._revisions[view])
            for view in views
            if view in self._names
        }


def logged_keys(snapshot: Snapshot) -> dict[str, LoggedKeys]:
    """Return what is logged of each model that fetches features."""
    public = {name: _is_public_in(snapshot, view) for name, view in snapshot.features.items()}
    found: dict[str, LoggedKeys] = {}
    for name, model in snapshot.models.items():
        used = {need.view for version in model.versions.values() for need in version.features}
        private = _private_inputs(model) if used else frozenset[str]()
        views = {view: _names(snapshot.features[view]) for view in used if public.get(view)}
        names = {view: keys for view, keys in views.items() if private.isdisjoint(keys)}
        if used:
            known = frozenset[str]().union(*(_names(snapshot.features[view]) for view in used if view in public))
            revisions = {view: snapshot.features[view].revision for view in names}
            found[name] = LoggedKeys(names, revisions, known if used <= public.keys() else None)
    return found


def _names(view: FeatureViewSpec) -> tuple[str, ...]:
    return (*view.entities, *(item.name for item in view.inputs))


def _private_inputs(model: ModelSpec) -> frozenset[str]:
    private = set(model.serving.log.redact)
    for version in model.versions.values():
        private |= {
            field.name for field in contract_from_spec(version.inputs).fields if field.classification != _PUBLIC
        }
    return frozenset(private)


def _is_public_in(snapshot: Snapshot, view: FeatureViewSpec) -> bool:
    dataset = snapshot.datasets.get(view.dataset)
    if dataset is None or dataset.protected:
        return False
    fields = contract_from_spec(dataset.contracts[dataset.active_version]).fields
    return all(field.classification == _PUBLIC for field in fields if field.name in view.entities)
