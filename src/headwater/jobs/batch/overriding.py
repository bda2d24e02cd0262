"""Overrides in a batch job: outputs of single rows replaced by what people have decided, which the row says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.contracts.model import Field
from headwater.core.jobs import BatchScore
from headwater.core.overrides import Book, Group, OverrideSpec, plain_value
from headwater.jobs.batch.inputs import Inputs
from headwater.jobs.batch.scorer import Scored

Provenance = Mapping[str, Mapping[str, Any]]
"""By output: the override, the value ``served`` and the model's ``own``."""


class BatchOverrides:
    """The overrides that a job was planned with; each is held against the clock when a chunk is scored."""

    def __init__(self, task: BatchScore, fields: Sequence[Field]) -> None:
        """Sort a job's overrides. The entity of a row is the keys that its features are fetched by."""
        self._book = Book(task.overrides)
        self._places = {field.name: index for index, field in enumerate(fields)}
        self._outputs = [output.name for output in task.version.outputs]
        self._keys = {part: source.columns[part] for source in task.views.values() for part in source.view.entities}

    def apply(
        self, rows: pa.Table, inputs: Inputs, scored: Scored, now: float
    ) -> tuple[Scored, Sequence[Provenance | None]]:
        """Return what is served, and for each row with outputs what was replaced in it.

        Args:
            rows: the chunk.
            inputs: its good rows.
            scored: what the model said of them.
            now: seconds since 1970.
        """
        chosen: list[dict[str, OverrideSpec]] = [{} for _ in scored.rows]
        for group in self._book.groups:
            for row, values in enumerate(self._values(group, rows, inputs, scored)):
                for spec in group.find(values, now):
                    if spec.output in self._outputs:
                        chosen[row].setdefault(spec.output, spec)
        if not any(chosen):
            return scored, [None] * len(chosen)
        provenance: list[dict[str, Any]] = [{} for _ in chosen]
        outputs: list[Any] = []
        for name, said in zip(self._outputs, scored.outputs, strict=True):
            own: list[Any] = said.tolist() if isinstance(said, np.ndarray) else list(said)
            for row, specs in enumerate(chosen):
                if name in specs:
                    spec = specs[name]
                    provenance[row][name] = {"override": spec.id, "served": spec.value, "own": own[row]}
            outputs.append([specs[name].value if name in specs else own[row] for row, specs in enumerate(chosen)])
        return replace(scored, outputs=outputs), [item or None for item in provenance]

    def _values(self, group: Group, rows: pa.Table, inputs: Inputs, scored: Scored) -> Sequence[tuple[Any, ...]]:
        """Return of each row with outputs the values that a group's keys are held against; none where it has none."""
        names = group.names
        if group.by == "entity":
            if set(names) != set(self._keys):
                return ()
            source = rows.take(pa.array(inputs.rows[scored.rows]))
            columns = [source[self._keys[name]].to_pylist() for name in names]
        elif set(names) <= self._places.keys():
            columns = [[inputs.columns[self._places[name]][at] for at in scored.rows] for name in names]
        else:
            return ()
        return [tuple(map(_plain, values)) for values in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else plain_value(value)
