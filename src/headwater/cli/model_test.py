"""Trying a model's directory without any server: loaded apart, golden rows run, measured, held against its demands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from headwater.cli.model_views import draw_checks
from headwater.cli.project.models import MANIFEST, Unbuilt, read_files
from headwater.cli.tables import draw_table, shown
from headwater.control.registry.content import VersionContent
from headwater.control.registry.demands import check_content
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.engines.models import check_artifact
from headwater.engines.models.manifest import read_manifest

_MEGABYTE: Final = 1 << 20


def try_model(directory: Path, settings: InferenceSettings) -> dict[str, Any]:
    """Return what the directory's model showed, and its checks.

    Raises:
        HeadwaterError: ``project_invalid`` for what is wrong with the directory, ``model_unavailable``,
            ``model_failed`` or ``model_timeout`` for an artifact that cannot be loaded or run.
    """
    directory = directory.absolute()  # the process that loads the model is somewhere else
    manifest = read_manifest(directory)
    path = directory / MANIFEST
    try:
        files = read_files(directory, path.read_text(encoding="utf-8"), str(path))
    except Unbuilt as error:
        raise HeadwaterError(
            "project_invalid", f"{path}: the artifact does not exist", hint="train the model, or mend artifact"
        ) from error
    digests = files.digests()
    # What is logged here must not end up in the answer.
    with redirect_stdout(sys.stderr):
        report = check_artifact(manifest, files.artifact.path if files.artifact else None, settings=settings)
    content = VersionContent.of_manifest(
        manifest, digests.get("artifact_sha256", ""), digests.get("profile_sha256", "")
    )
    latency = None if report.latency_us is None else {str(rows): us for rows, us in report.latency_us.items()}
    return {
        "model": manifest.name,
        "framework": manifest.framework,
        **digests,
        **asdict(report),
        "latency_us": latency,
        "checks": [asdict(check) for check in check_content(content, report)],
    }


def draw_trial(console: Console, document: Mapping[str, Any]) -> None:
    """Write what a model showed."""
    console.print(shown(f"{document['model']} ({document['framework']})"))
    rows: list[tuple[str, str]] = [("size", _megabytes(document["size_bytes"]))]
    if document["latency_us"] is not None:
        rows += [("load", f"{document['load_ms']:.0f} ms"), ("memory", _megabytes(document["memory_bytes"]))]
        rows += [(f"{count} rows at once", f"{us / 1000:.3f} ms") for count, us in document["latency_us"].items()]
    draw_table(console, ("measured", ""), rows)
    draw_checks(console, document["checks"])


def _megabytes(size: int) -> str:
    return f"{size / _MEGABYTE:.2f} MB"
