"""Applying a project in this process, when control is not running or not ours to ask."""

from __future__ import annotations

from headwater.cli.project.payload import Outcome, Project
from headwater.control.bootstrap import ensure_environment
from headwater.core.settings import Settings
from headwater.engines.blobs import open_blobs


def apply_here(settings: Settings, project: Project, *, dry_run: bool = False) -> Outcome:
    """Apply ``project`` to the target of the settings, or say what that would change.

    Raises:
        HeadwaterError: ``project_invalid`` with every error of every file; nothing was changed.
    """
    ensure_environment(settings)
    from headwater.control.access.queries import get_environment  # noqa: PLC0415 - models need Django to be set up
    from headwater.control.catalog.apply import apply_project, plan_project  # noqa: PLC0415
    from headwater.control.catalog.payload import Resources  # noqa: PLC0415
    from headwater.control.kit.actions import SYSTEM  # noqa: PLC0415

    blobs = open_blobs(settings)
    for digest, path in project.artifacts.items():
        blobs.put_file(path, expected=digest)
    target = settings.target
    act = plan_project if dry_run else apply_project
    outcome = act(
        actor=SYSTEM,
        environment=get_environment(target.organization, target.project, target.environment),
        resources=Resources.model_validate(project.resources),
    )
    return Outcome(outcome.model_dump(mode="json"))
