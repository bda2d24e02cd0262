"""What a change of signature breaks for callers of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from headwater.contracts.model import Constraints, Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.control.registry.parity import Signature, compare_signatures

NUMBER, STRING = LogicalType.NUMBER, LogicalType.STRING
SCORE = {"name": "score", "type": "number"}
FROM_WEATHER = {"field": "temp", "view": "weather", "feature": "temp"}


def signature(
    *fields: Field, outputs: Sequence[dict[str, Any]] = (SCORE,), features: Sequence[dict[str, str]] = ()
) -> Signature:
    return contract_to_spec(Contract("model", "1.0", fields)), list(outputs), list(features)


def needed(name: str, kind: LogicalType = NUMBER, **more: Any) -> Field:
    return Field(name, kind, required=True, **more)


def optional(name: str, kind: LogicalType = NUMBER) -> Field:
    return Field(name, kind, required=False)


OLD = signature(needed("hour"), optional("carrier", STRING))


@pytest.mark.parametrize(
    ("new", "change"),
    [
        (signature(needed("hour")), "input carrier: removed, and rows that still have it are refused"),
        (
            signature(needed("hour", STRING), optional("carrier", STRING)),
            "input hour: type changed from number to string",
        ),
        (signature(needed("hour"), needed("carrier", STRING)), "input carrier: became required"),
        (
            signature(needed("hour"), optional("carrier", STRING), needed("distance")),
            "input distance: added as required",
        ),
        (
            signature(needed("hour", constraints=Constraints(le=23)), optional("carrier", STRING)),
            "input hour: le tightened: None to 23",
        ),
        (
            signature(needed("hour"), optional("carrier", STRING), outputs=[{"name": "points", "type": "number"}]),
            "output score: removed",
        ),
        (
            signature(needed("hour"), optional("carrier", STRING), outputs=[SCORE | {"type": "integer"}]),
            "output score: type changed from number to integer",
        ),
        (
            signature(needed("hour"), optional("carrier", STRING), outputs=[SCORE | {"shape": [3]}]),
            "output score: shape changed from [] to [3]",
        ),
    ],
)
def test_what_fails_old_callers_breaks(new: Signature, change: str) -> None:
    assert change in [str(found) for found in compare_signatures(OLD, new) if found.breaking]


@pytest.mark.parametrize(
    "new",
    [
        OLD,
        signature(needed("hour"), optional("carrier", STRING), optional("distance")),
        signature(optional("hour"), optional("carrier", STRING)),
        signature(needed("hour"), optional("carrier", STRING), outputs=[SCORE, {"name": "points", "type": "number"}]),
        signature(needed("hour"), optional("carrier", STRING), needed("distance", has_default=True, default=1.0)),
    ],
)
def test_what_old_callers_do_not_notice_breaks_nothing(new: Signature) -> None:
    assert not [found for found in compare_signatures(OLD, new) if found.breaking]


def test_another_feature_of_a_view_that_callers_name_entities_of_breaks_nothing() -> None:
    old = signature(needed("temp"), features=[FROM_WEATHER])
    wind = FROM_WEATHER | {"field": "wind", "feature": "wind"}
    new = signature(needed("temp"), needed("wind"), features=[FROM_WEATHER, wind])
    assert not [found for found in compare_signatures(old, new) if found.breaking]


def test_a_feature_of_another_view_needs_entities_that_callers_do_not_send() -> None:
    old = signature(needed("temp"), features=[FROM_WEATHER])
    traffic = {"field": "queue", "view": "traffic", "feature": "queue"}
    new = signature(needed("temp"), needed("queue"), features=[FROM_WEATHER, traffic])
    assert [str(found) for found in compare_signatures(old, new) if found.breaking] == [
        "input queue: added as required"
    ]


def test_an_input_that_is_filled_no_longer_breaks() -> None:
    old = signature(needed("temp"), features=[FROM_WEATHER])
    (change,) = [found for found in compare_signatures(old, signature(needed("temp"))) if found.breaking]
    assert str(change) == "input temp: no longer filled from weather.temp"
