"""Models: what a directory says about one, what runs one, how its predictions are logged.

Little is imported here, because workers, who run models, import this package too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.contracts.model import Field
    from headwater.core.setting_sections import InferenceSettings
    from headwater.core.snapshot import ModelVersionSpec
    from headwater.engines.models.checking import ArtifactReport
    from headwater.engines.models.manifest import ModelManifest
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


def check_artifact(manifest: ModelManifest, artifact: Path | None, *, settings: InferenceSettings) -> ArtifactReport:
    """Load an artifact in a process of its own, run its golden rows and measure it. Blocks for seconds.

    Args:
        manifest: what it should be.
        artifact: the file; None for a remote model, whose server is asked for the golden rows.
        settings: what may be loaded.

    Raises:
        HeadwaterError: ``model_unavailable`` when it cannot be loaded or does not fit, ``model_timeout`` or
            ``model_failed`` when it cannot be run.
    """
    from headwater.engines.models.checking import check_artifact as check  # noqa: PLC0415 - see above

    return check(manifest, artifact, settings=settings)
