"""Applying a project in this process, when control is not running or not ours to ask."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Any

from headwater.cli.project.payload import Outcome, Project
from headwater.control.bootstrap import ensure_environment, rehearsal
from headwater.core.settings import Settings
from headwater.engines.blobs import open_blobs


def apply_here(settings: Settings, project: Project) -> Outcome:
    """Apply ``project`` to the target of the settings.

    Raises:
        HeadwaterError: ``project_invalid`` with every error of every file; nothing was changed.
    """
    ensure_environment(settings)
    return _act(settings, project, dry_run=False)


def plan_here(settings: Settings, project: Project) -> Outcome:
    """Say what applying ``project`` would change, also to a home that does not exist yet; nothing is changed.

    Raises:
        HeadwaterError: as ``apply_here``, or as ``rehearsal``.
    """
    with rehearsal(settings) as trial:
        return _act(trial, project, dry_run=True)


def push_here(settings: Settings, project: Project, entry: dict[str, Any]) -> dict[str, Any]:
    """Register the version of a model; ``entry`` is its manifest with the digests of ``project.artifacts``.

    Raises:
        HeadwaterError: ``project_invalid`` with everything wrong; nothing was changed.
    """
    ensure_environment(settings)
    from headwater.control.access.queries import get_environment  # noqa: PLC0415 - models need Django to be set up
    from headwater.control.api.model_schemas import PushOut  # noqa: PLC0415
    from headwater.control.catalog.push import push_model  # noqa: PLC0415
    from headwater.control.kit.actions import SYSTEM  # noqa: PLC0415

    target = settings.target
    environment = get_environment(target.organization, target.project, target.environment)
    blobs = open_blobs(settings)
    for digest, path in project.artifacts.items():
        blobs.put_file(path, expected=digest)
    with redirect_stdout(sys.stderr):
        pushed = push_model(actor=SYSTEM, environment=environment, file=entry)
    return PushOut.show(pushed.version, environment, created=pushed.created).model_dump(mode="json")


def _act(settings: Settings, project: Project, *, dry_run: bool) -> Outcome:
    from headwater.control.access.queries import get_environment  # noqa: PLC0415 - models need Django to be set up
    from headwater.control.catalog.apply import apply_project, plan_project  # noqa: PLC0415
    from headwater.control.catalog.payload import Resources  # noqa: PLC0415
    from headwater.control.kit.actions import SYSTEM  # noqa: PLC0415

    blobs = open_blobs(settings)
    for digest, path in project.artifacts.items():
        blobs.put_file(path, expected=digest)
    target = settings.target
    act = plan_project if dry_run else apply_project
    # What is logged here must not end up in the answer.
    with redirect_stdout(sys.stderr):
        outcome = act(
            actor=SYSTEM,
            environment=get_environment(target.organization, target.project, target.environment),
            resources=Resources.model_validate(project.resources),
        )
    return Outcome(outcome.model_dump(mode="json"))
