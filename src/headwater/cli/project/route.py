"""Which way a project goes: through control's API when control runs, else in this process."""

from __future__ import annotations

import importlib

from headwater.cli.connect import connect_control
from headwater.cli.project.files import collect, require_artifacts, require_project
from headwater.cli.project.payload import Outcome, Project
from headwater.cli.project.remote import apply_there
from headwater.cli.session import Session


def apply_somewhere(session: Session, *, dry_run: bool, project: Project | None = None) -> Outcome:
    """Apply ``project``, or else the session's project directory, to the session's target.

    Raises:
        HeadwaterError: ``project_invalid`` with every error of every file; nothing was changed.
        ApiError: the same, when control said it.
    """
    if project is None:
        assert session.settings.project is not None
        require_project(session.settings.project)
        project = collect(session.settings.project)
        require_artifacts(project)
    api = connect_control(session)
    if api is None:
        # Imported by name: only this way needs Django.
        local = importlib.import_module("headwater.cli.project.local")
        act = local.plan_here if dry_run else local.apply_here
        outcome: Outcome = act(session.settings, project)
        return outcome
    with api:
        return apply_there(api, session.settings.target, project, dry_run=dry_run)
