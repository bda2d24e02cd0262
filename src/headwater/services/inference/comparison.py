"""What a version said as a shadow beside what was served: how far apart, how often of one mind, and where not."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from headwater.core.snapshot import ModelVersionSpec

SHOWN: Final = 20
THRESHOLD: Final = 0.5
CLOSE: Final = 0.01
"""How far apart numbers may be and agree still, of the larger one; probabilities must be on one side of a half."""


def compare_shadow(version: ModelVersionSpec, pairs: pa.Table) -> dict[str, Any] | None:
    """Return the comparison by the version's first scalar output; None where it was no shadow.

    Args:
        version: the shadow.
        pairs: as ``Evidence.shadow_pairs`` returns them.
    """
    output = next((output for output in version.outputs if not output.shape), None)
    if output is None or not pairs.num_rows:
        return None
    served, shadow = pairs.column(f"served_{output.name}"), pairs.column(f"shadow_{output.name}")
    known = pc.and_(pc.is_valid(served), pc.is_valid(shadow))
    pairs, served, shadow = pairs.filter(known), served.filter(known), shadow.filter(known)
    if not pairs.num_rows:
        return None
    described: dict[str, Any] = {
        "of_version": _most_frequent(pairs.column("of_version")),
        "output": output.name,
        "pairs": pairs.num_rows,
        "mean_abs_diff": None,
        "max_abs_diff": None,
    }
    if output.type == "string":
        agrees = pc.equal(served, shadow).to_numpy(zero_copy_only=False)
        worst = np.flatnonzero(~agrees)[:SHOWN]
    else:
        one, other = (column.cast(pa.float64()).to_numpy() for column in (served, shadow))
        apart = np.abs(one - other)
        agrees = _agrees(one, other, apart)
        described |= {"mean_abs_diff": float(apart.mean()), "max_abs_diff": float(apart.max())}
        order = np.argsort(-apart, kind="stable")
        worst = order[~agrees[order]][:SHOWN]
    described["agreement"] = float(agrees.mean())
    described["disagreements"] = [
        {
            "prediction_id": pairs.column("prediction_id")[at].as_py(),
            "served": served[at].as_py(),
            "shadow": shadow[at].as_py(),
        }
        for at in worst.tolist()
    ]
    return described


def _agrees(served: NDArray[np.float64], shadow: NDArray[np.float64], apart: NDArray[np.float64]) -> NDArray[np.bool_]:
    both = np.concatenate((served, shadow))
    agrees: NDArray[np.bool_]
    if ((both >= 0) & (both <= 1)).all():
        agrees = (served >= THRESHOLD) == (shadow >= THRESHOLD)
    else:
        agrees = apart <= CLOSE * np.maximum(np.abs(served), np.abs(shadow))
    return agrees


def _most_frequent(column: pa.ChunkedArray) -> int:
    counted: list[dict[str, Any]] = pc.value_counts(column.combine_chunks()).to_pylist()
    found: int = max(counted, key=lambda one: one["counts"])["values"]
    return found
