"""Applying a project through control's API."""

from __future__ import annotations

from headwater.cli.control_api import ControlApi
from headwater.cli.project.artifacts import put_artifacts
from headwater.cli.project.payload import Outcome, Project
from headwater.core.setting_sections import TargetSettings


def apply_there(api: ControlApi, target: TargetSettings, project: Project, *, dry_run: bool = False) -> Outcome:
    """Apply ``project`` to ``target``, or ask what that would change; artifacts are put first.

    Raises:
        ApiError: control's refusal, with every error of every file.
    """
    put_artifacts(api, project.artifacts)
    body = {
        "organization": target.organization,
        "project": target.project,
        "environment": target.environment,
        "dry_run": dry_run,
        "resources": project.resources,
    }
    return Outcome(api.request("POST", "/apply", json=body))
