"""Checking the expressions of a declared view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headwater.core.expressions import ExpressionFault
from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.expressions import compile_feature, known_names


def check_computed(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Yield name, message and cure of every expression of a view that cannot be used."""
    view = FeatureViewSpec.model_validate({**spec, "id": "", "revision": 0})
    names = known_names(view)
    for feature in view.features:
        if feature.kind != "expression":
            continue
        try:
            compile_feature(feature, names)
        except ExpressionFault as fault:
            yield feature.name, str(fault), fault.hint
        names[feature.name] = feature.type
