"""Models: what a directory says about one, what runs one, how its predictions are logged.

Little is imported here, because workers, who run models, import this package too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.contracts.model import Field
    from headwater.core.settings import InferenceSettings
    from headwater.core.snapshot import ModelVersionSpec
    from headwater.engines.models.protocol import AsyncExecutor, Executor


def open_executor(
    spec: ModelVersionSpec, artifact: Path | None, fields: Sequence[Field], *, settings: InferenceSettings
) -> Executor | AsyncExecutor:
    """Load a version, check it against its signature and warm it up. Blocks; call it in a thread.

    Args:
        spec: the version.
        artifact: a verified file that stays where it is while the executor lives; None for a remote model.
        fields: the inputs, in the order of the signature.
        settings: what may be loaded.

    Raises:
        HeadwaterError: ``model_unavailable`` naming what does not fit, the extra that is not installed, or the setting
            that forbids it.
    """
    # Here and not above: who only reads manifests or log schemas needs no engine.
    from headwater.engines.models.opening import open_by_framework  # noqa: PLC0415

    return open_by_framework(spec, artifact, fields, settings=settings)
