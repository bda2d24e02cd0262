"""Feature flags: what they are, what each environment says, what they would answer, and which have had their day."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Field, Query, Router, Status

from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.flag_schemas import (
    ChangeOut,
    ConfigIn,
    ConfigOut,
    EvaluateIn,
    EvaluateOut,
    FlagIn,
    FlagOut,
    FlagPatch,
    StaleOut,
    ToggleIn,
    UsageOut,
)
from headwater.control.api.pages import Page, PageQuery, take_page, take_rows, take_sorted
from headwater.control.api.revisions import check_revision
from headwater.control.api.schemas import ChangeIn
from headwater.control.flags.actions import (
    archive_flag,
    change_config,
    change_flag,
    config_of,
    create_flag,
    restore_flag,
    toggle_flag,
)
from headwater.control.flags.checks import check, specs_of, unconfigured
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.flags.preview import preview
from headwater.control.flags.stale import DEFAULT_DAYS, stale_flags
from headwater.control.flags.usage import counts_by_day
from headwater.control.flags.words import differences
from headwater.control.orgs.models import Environment, Project
from headwater.core.errors import HeadwaterError

router = Router(tags=["Flags"])
Paging = Annotated[PageQuery, Query(...)]
FLAGS = "/{org}/projects/{project}/flags"
FLAG = FLAGS + "/{flag}"
PLACE = "/{org}/projects/{project}/environments/{environment}"
CONFIGS = PLACE + "/flags"
CONFIG = CONFIGS + "/{flag}"


class FlagQuery(PageQuery):
    """Which flags are asked for."""

    archived: bool = Field(False, description="Those that are archived, instead of those that are not")


class StaleQuery(PageQuery):
    """Over how long flags are judged."""

    days: int = Field(DEFAULT_DAYS, ge=1, le=3_650, description="Unchanged, or not asked for, for so long")


@router.get(FLAGS, response=Page[FlagOut])
def list_flags(request: HttpRequest, org: str, project: str, query: Annotated[FlagQuery, Query(...)]) -> Page[FlagOut]:
    """List a project's flags; those that are archived only when asked for."""
    caller = caller_of(request)
    home = caller.project(org, project)
    caller.need("flag.read", home)
    rows = Flag.objects.for_org(home.org_id).filter(project=home, archived_at__isnull=not query.archived)
    return take_page(rows, query, FlagOut.show)


@router.post(FLAGS, response={201: FlagOut})
def post_flag(request: HttpRequest, org: str, project: str, body: FlagIn) -> Status[FlagOut]:
    """Create a flag, switched off in every environment."""
    caller = caller_of(request)
    home = caller.project(org, project)
    made = create_flag(actor=caller.actor, project=home, key=body.key, content=body.content())
    return Status(201, FlagOut.show(made))


@router.get(FLAG, response=FlagOut)
def get_flag(request: HttpRequest, org: str, project: str, flag: str) -> FlagOut:
    """Show a flag."""
    caller = caller_of(request)
    return FlagOut.show(_flag(caller, caller.project(org, project), flag))


@router.patch(FLAG, response=FlagOut)
def patch_flag(request: HttpRequest, org: str, project: str, flag: str, body: FlagPatch) -> FlagOut:
    """Change what is the same in every environment."""
    caller = caller_of(request)
    row = _flag(caller, caller.project(org, project), flag)
    check_revision(request, row, body.revision)
    return FlagOut.show(change_flag(actor=caller.actor, flag=row, content=body.content(), reason=body.reason))


@router.post(FLAG + "/archive", response=FlagOut)
def post_archive(request: HttpRequest, org: str, project: str, flag: str, body: ChangeIn) -> FlagOut:
    """Stop serving a flag: applications get what their code says."""
    caller = caller_of(request)
    row = _flag(caller, caller.project(org, project), flag)
    check_revision(request, row, body.revision)
    return FlagOut.show(archive_flag(actor=caller.actor, flag=row, reason=body.reason))


@router.post(FLAG + "/restore", response=FlagOut)
def post_restore(request: HttpRequest, org: str, project: str, flag: str, body: ChangeIn) -> FlagOut:
    """Serve an archived flag again, as it was."""
    caller = caller_of(request)
    row = _flag(caller, caller.project(org, project), flag)
    check_revision(request, row, body.revision)
    return FlagOut.show(restore_flag(actor=caller.actor, flag=row, reason=body.reason))


@router.get(CONFIGS, response=Page[ConfigOut])
def list_configs(request: HttpRequest, org: str, project: str, environment: str, page: Paging) -> Page[ConfigOut]:
    """List what an environment says about each flag that is not archived."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("flag.read", home)
    flags, following = take_rows(
        Flag.objects.for_org(home.org_id).filter(project_id=home.project_id, archived_at=None), page
    )
    configs = FlagConfig.objects.for_org(home.org_id).filter(environment=home, flag__in=flags).select_related("flag")
    known = {config.flag_id: config for config in configs}
    rows = [known.get(flag.pk) or unconfigured(flag, home.pk) for flag in flags]
    return Page[ConfigOut](items=[ConfigOut.show(_with(row, home)) for row in rows], next=following)


@router.get(PLACE + "/stale-flags", response=Page[StaleOut])
def list_stale_flags(
    request: HttpRequest, org: str, project: str, environment: str, query: Annotated[StaleQuery, Query(...)]
) -> Page[StaleOut]:
    """List the flags that have had their day, each with why; judged over this many days."""
    caller = caller_of(request)
    home = caller.environment(org, project, environment)
    caller.need("flag.read", home)
    return take_sorted(stale_flags(home, days=query.days), query, StaleOut.show, key=lambda found: found.flag.key)


@router.get(CONFIG, response=ConfigOut)
def get_config(request: HttpRequest, org: str, project: str, environment: str, flag: str) -> ConfigOut:
    """Show what an environment says about a flag."""
    return ConfigOut.show(_config(caller_of(request), org, project, environment, flag))


@router.patch(CONFIG, response=ChangeOut)
def patch_config(
    request: HttpRequest, org: str, project: str, environment: str, flag: str, body: ConfigIn
) -> ChangeOut:
    """Change what an environment says about a flag, or with ``dry_run`` say what would change."""
    caller = caller_of(request)
    row = _config(caller, org, project, environment, flag)
    check_revision(request, row, body.revision)
    changes = body.changes()
    shown = differences(row, changes)
    if body.dry_run:
        caller.need("flag.write", row)
        check(row, specs_of(row.environment), **changes)
    else:
        row = change_config(actor=caller.actor, config=row, changes=changes, reason=body.reason)
    return ChangeOut(changes=shown, dry_run=body.dry_run, config=ConfigOut.show(row))


@router.post(CONFIG + "/toggle", response=ConfigOut)
def post_toggle(request: HttpRequest, org: str, project: str, environment: str, flag: str, body: ToggleIn) -> ConfigOut:
    """Switch a flag on or off in an environment."""
    caller = caller_of(request)
    row = _config(caller, org, project, environment, flag)
    check_revision(request, row, body.revision)
    return ConfigOut.show(toggle_flag(actor=caller.actor, config=row, enabled=body.enabled, reason=body.reason))


@router.post(CONFIG + "/evaluate", response=EvaluateOut)
def post_evaluate(
    request: HttpRequest, org: str, project: str, environment: str, flag: str, body: EvaluateIn
) -> EvaluateOut:
    """Say what a flag answers for a context, and which rule decides; nothing is counted."""
    row = _config(caller_of(request), org, project, environment, flag)
    return EvaluateOut.show(preview(row.environment, flag, body.context, body.at))


@router.get(CONFIG + "/usage", response=Page[UsageOut])
def list_usage(
    request: HttpRequest, org: str, project: str, environment: str, flag: str, page: Paging
) -> Page[UsageOut]:
    """Say how often a flag was evaluated by itself in the last thirty days."""
    row = _config(caller_of(request), org, project, environment, flag)
    counted = [UsageOut(**one) for one in counts_by_day(row.environment, row.flag.key)]
    return take_sorted(counted, page, lambda one: one, key=lambda one: f"{one.day} {one.variant}")


def _flag(caller: Caller, home: Project, key: str) -> Flag:
    """Return a flag by key; the caller needs ``flag.read``."""
    found: Flag | None = Flag.objects.for_org(home.org_id).filter(project=home, key=key).first()
    if found is None:
        raise HeadwaterError("flag_not_found", f"there is no flag {key[:100]!r}")
    caller.need("flag.read", found)
    return found


def _config(caller: Caller, org: str, project: str, environment: str, key: str) -> FlagConfig:
    """Return what an environment says about a flag; the caller needs ``flag.read`` there."""
    home = caller.environment(org, project, environment)
    found: Flag | None = Flag.objects.for_org(home.org_id).filter(project_id=home.project_id, key=key).first()
    if found is None:
        raise HeadwaterError("flag_not_found", f"there is no flag {key[:100]!r}")
    config = _with(config_of(found, home), home)
    caller.need("flag.read", config)
    return config


def _with(config: FlagConfig, environment: Environment) -> FlagConfig:
    config.environment = environment
    return config
