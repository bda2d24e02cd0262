"""Entries as groups for the log: what a worker does on its event loop, so it copies arrays and little else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.core.snapshot import LogSpec
from headwater.services.inference.batcher import Batch
from headwater.services.inference.observations import Entry
from headwater.services.inference.sidecar.wire import Described, Group, Output, raw_version
from headwater.services.inference.version import ServedVersion
from headwater.services.kit.service import Environment

SERVICE: Final = "inference"
_WIDE: Final = np.dtype("<f8")


class Descriptions:
    """The descriptions of versions, encoded once for each configuration."""

    def __init__(self, environments: Callable[[], Mapping[str, Environment]]) -> None:
        """Describe versions of what ``environments`` returns."""
        self._environments = environments
        self._known: dict[tuple[str, str, int], tuple[ServedVersion, Environment, msgspec.Raw]] = {}

    def of(self, version: ServedVersion, environment: Environment) -> msgspec.Raw:
        """Return the description of a version as ``environment`` is now."""
        key = (environment.id, version.model, version.number)
        known = self._known.get(key)
        if known is not None and known[0] is version and known[1] is environment:
            return known[2]
        raw = raw_version(describe(version, environment))
        self._known[key] = (version, environment, raw)
        return raw

    def find(self, version: ServedVersion) -> msgspec.Raw | None:
        """Return the description of a version in the environment that serves it now; None when none does."""
        for environment in self._environments().values():
            compiled = environment.compiled.get(SERVICE)
            model = None if compiled is None else compiled.models.get(version.model)
            if model is not None and model.versions.get(version.number) is version:
                return self.of(version, environment)
        return None


def describe(version: ServedVersion, environment: Environment) -> Described:
    """Return what the log must know of a version."""
    snapshot, spec = environment.snapshot, version.spec
    model = snapshot.models.get(version.model)
    log = LogSpec() if model is None else model.serving.log
    return Described(
        environment_id=environment.id,
        model=version.model,
        number=spec.number,
        version_id=spec.id,
        config=snapshot.number,
        inputs=spec.inputs,
        outputs=[output.model_dump() for output in spec.outputs],
        features=[(feature.field, feature.view, feature.feature) for feature in spec.features],
        profile_sha256=spec.profile_sha256,
        sample_bps=log.sample_bps,
        redact=list(log.redact),
    )


def gather(entries: Sequence[Entry], version: int) -> Group:
    """Return entries of one version as a group.

    Args:
        entries: at least one.
        version: what the group calls the version.
    """
    matrix, rows, outputs = _values(_runs(entries))
    ids = entries[0].ids if len(entries) == 1 else [identity for entry in entries for identity in entry.ids]
    return Group(
        version=version,
        counts=[len(entry.ids) for entry in entries],
        ids=list(ids),
        routes=_once([entry.route for entry in entries]),
        principals=_once([entry.caller.key.principal_id for entry in entries]),
        requests=[entry.request_id for entry in entries],
        predicted_at_us=[entry.predicted_at_us for entry in entries],
        latency_us=[entry.latency_us for entry in entries],
        matrix=None if matrix is None else matrix.tobytes(),
        rows=rows,
        outputs=outputs,
        features=_by_row(entries, "features"),
        shadow_of=_by_row(entries, "shadow_of"),
        overrides=_by_row(entries, "overrides"),
    )


def _once(texts: list[str]) -> list[str]:
    """Return a text alone where it is the same for all."""
    return texts[:1] if texts.count(texts[0]) == len(texts) else texts


def _by_row(entries: Sequence[Entry], name: str) -> list[Any] | None:
    parts = [getattr(entry, name) for entry in entries]
    if all(part is None for part in parts):
        return None
    return [
        value
        for entry, part in zip(entries, parts, strict=True)
        for value in (part if part is not None else [None] * len(entry.ids))
    ]


def _runs(entries: Sequence[Entry]) -> list[tuple[Batch, int, int]]:
    """Return the batches of the entries with their rows; neighbours in a batch are one run."""
    runs: list[tuple[Batch, int, int]] = []
    for entry in entries:
        share = entry.share
        if runs and runs[-1][0] is share.batch and runs[-1][2] == share.start:
            runs[-1] = (share.batch, runs[-1][1], share.stop)
        else:
            runs.append((share.batch, share.start, share.stop))
    return runs


def _values(
    runs: Sequence[tuple[Batch, int, int]],
) -> tuple[NDArray[Any] | None, list[Any] | None, list[Output]]:
    outputs = [
        _output(_stacked([batch.outputs[index][start:stop] for batch, start, stop in runs]))
        for index in range(len(runs[0][0].outputs))
    ]
    matrices = [batch.matrix[start:stop] for batch, start, stop in runs if batch.matrix is not None]
    if len(matrices) == len(runs):
        matrix = _stacked(matrices)
        return matrix.astype(_WIDE, copy=False), None, outputs
    rows = [row for batch, start, stop in runs for row in _rows(batch, start, stop)]
    return None, rows, outputs


def _rows(batch: Batch, start: int, stop: int) -> Sequence[Any]:
    if batch.matrix is None:
        return batch.rows[start:stop]
    rows: list[Any] = batch.matrix[start:stop].tolist()
    return rows


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _output(values: NDArray[Any]) -> Output:
    if values.dtype.kind in "OUS":
        return Output(values.dtype.str, list(values.shape), None, values.tolist())
    return Output(values.dtype.str, list(values.shape), np.ascontiguousarray(values).tobytes())
