"""Overrides at work: outputs of single rows replaced in what is served, never in what is logged or cached."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.core.overrides import Book, Group, OverrideSpec, fits, plain_value
from headwater.core.snapshot import Snapshot
from headwater.services.inference.batch import Batch, Inputs, Share

ROUTE: Final = "override"
"""What a reply calls the route when a person's word stands in it."""

Chosen = Mapping[str, OverrideSpec]


class Overridden(msgspec.Struct):
    """What became of an answer: the model's ``own`` outputs, and by row which override each output was served by."""

    own: Share
    by_row: Sequence[Chosen]

    def provenance(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return for the reply which outputs of which predictions are overridden, why, by whom and until when."""
        return [
            {
                "prediction_id": name,
                "output": output,
                "override": spec.id,
                "reason": spec.reason,
                "requested_by": spec.requested_by,
                "approved_by": spec.approved_by,
                "valid_until": spec.valid_until.isoformat(),
            }
            for name, chosen in zip(ids, self.by_row, strict=True)
            for output, spec in chosen.items()
        ]

    def logged(self) -> list[dict[str, Any] | None]:
        """Return for the log, by row, what was served in place of each output, and by which override."""
        return [
            {output: {"override": spec.id, "served": spec.value} for output, spec in chosen.items()} or None
            for chosen in self.by_row
        ]


class Overriding:
    """The overrides of one model in one configuration."""

    def __init__(self, specs: Sequence[OverrideSpec]) -> None:
        """Serve ``specs``."""
        self._book = Book(specs)

    def apply(
        self,
        names: Sequence[str],
        outputs: Sequence[str],
        inputs: Inputs,
        share: Share,
        entities: Sequence[Mapping[str, Any]] | None,
    ) -> tuple[Share, Overridden] | None:
        """Return what is to be served, None where no row has an override in force.

        Args:
            names: of the inputs, in signature order.
            outputs: names of the outputs.
            inputs: the rows.
            share: what the model said about them.
            entities: what the request named, by row, bad rows included.
        """
        by_row: list[dict[str, OverrideSpec]] = [{} for _ in range(len(inputs))]
        now = time.time()
        for group in self._book.groups:
            for row, values in enumerate(_values(group, names, inputs, entities)):
                if values is not None:
                    for spec in group.find(values, now):
                        if spec.output in outputs:
                            by_row[row].setdefault(spec.output, spec)
        if not any(by_row):
            return None
        return _replaced(outputs, share, by_row), Overridden(share, by_row)


def overriding_of(snapshot: Snapshot) -> dict[str, Overriding]:
    """Return the overrides of a snapshot by model; a model without any is not there."""
    by_model: dict[str, list[OverrideSpec]] = {}
    for spec in snapshot.overrides.values():
        by_model.setdefault(spec.model, []).append(spec)
    return {model: Overriding(specs) for model, specs in by_model.items()}


def _values(
    group: Group, names: Sequence[str], inputs: Inputs, entities: Sequence[Mapping[str, Any]] | None
) -> Sequence[tuple[Any, ...] | None]:
    """Return of each row the values that the group's keys are held against, None where it has none."""
    if group.by == "entity":
        good = [entity for row, entity in enumerate(entities or ()) if row not in (inputs.faults or ())]
        return [
            tuple(plain_value(entity[name]) for name in group.names) if fits(group, entity) else None for entity in good
        ]
    if not set(group.names) <= set(names):
        return ()
    places = [names.index(name) for name in group.names]
    if inputs.matrix is not None:
        columns = [inputs.matrix[:, place].tolist() for place in places]
    else:
        columns = [[row[place] for row in inputs.rows] for place in places]
    return [tuple(map(plain_value, values)) for values in zip(*columns, strict=True)]


def _replaced(outputs: Sequence[str], share: Share, by_row: Sequence[Chosen]) -> Share:
    """Return a copy of a share with the overridden values; the batch it came from is others' and the cache's too."""
    copies: list[NDArray[Any]] = []
    for name, values in zip(outputs, share.batch.outputs, strict=True):
        own = values[share.start : share.stop]
        changes = {row: chosen[name].value for row, chosen in enumerate(by_row) if name in chosen}
        # A text may be longer than the longest that the model said, which is all an array of texts has room for.
        copy = own.astype(object) if own.dtype.kind in "US" and changes else np.array(own, copy=True)
        for row, value in changes.items():
            copy[row] = value
        copies.append(copy)
    return Share(Batch((), None, copies), 0, share.stop - share.start)
