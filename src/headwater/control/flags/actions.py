"""Changes to flags and to what environments say about them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from django.utils import timezone

from headwater.control.access.authority import authorize
from headwater.control.flags.checks import check, specs_of, unconfigured
from headwater.control.flags.models import Flag, FlagConfig, new_salt
from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment, Project
from headwater.core.errors import HeadwaterError
from headwater.core.flags import FlagSpec

CONFIG_FIELDS: Final = frozenset(
    {"enabled", "default_variant", "rules", "prerequisites", "enabled_from", "enabled_until", "salt"}
)
Others = Mapping[uuid.UUID, Mapping[str, FlagSpec]]
_SERVED: Final = frozenset({"type", "variants", "off_variant", "archived_at", "exposures"})
"""What of a flag the data plane is told, in every environment at once."""


@action("flags.flag.created", permission="flag.write", on="project")
def create_flag(*, actor: Actor, project: Project, key: str, content: Mapping[str, Any]) -> Flag:
    """Create a flag, switched off in every environment of the project.

    Args:
        actor: who creates it.
        project: where.
        key: what applications ask for.
        content: the other fields of ``Flag``, as ``FlagDocument.content`` gives them.

    Raises:
        HeadwaterError: ``conflict`` for a key that is taken, ``flag_invalid``, ``invalid_parameter``.
    """
    flag = Flag(org_id=project.org_id, project=project, key=key, **content)
    flag.save()
    environments = Environment.objects.for_org(project.org_id).filter(project=project)
    for environment in environments.select_related("project"):
        config = unconfigured(flag, environment.pk)
        config.environment = environment
        config.salt = new_salt()
        check(config, specs_of(environment))
        config.save()
    return flag


@action("flags.flag.changed", permission="flag.write", on="flag")
def change_flag(
    *, actor: Actor, flag: Flag, content: Mapping[str, Any], reason: str = "", others: Others = MappingProxyType({})
) -> Flag:
    """Change what is the same in every environment; ``others`` is as in ``change_config``.

    Raises:
        HeadwaterError: ``flag_invalid`` where an environment's rules do not fit any more, or the type changes;
            ``forbidden`` where a protected environment would answer otherwise and the actor may not change it.
    """
    if "type" in content and content["type"] != flag.type:
        raise HeadwaterError(
            "flag_invalid",
            f"{flag.key} is of type {flag.type}, and applications rely on that",
            hint="make another flag",
        )
    changed = {name for name, value in content.items() if getattr(flag, name) != value}
    if changed & _SERVED:
        _may_everywhere(actor, flag, reason)
    flag.change(**content)
    for config in _configs(flag):
        check(config, _others(config.environment, others))
    return flag


@action("flags.config.changed", permission="flag.write", on="config")
def change_config(
    *,
    actor: Actor,
    config: FlagConfig,
    changes: Mapping[str, Any],
    reason: str = "",
    others: Others = MappingProxyType({}),
) -> FlagConfig:
    """Change what one environment says: any of ``CONFIG_FIELDS``.

    Args:
        actor: who changes it.
        config: what there is.
        changes: new values by field.
        reason: why; protected environments want one.
        others: by environment, the flags to hold it against where that is not what is saved: what they will be once
            other changes of the same transaction are made.

    Raises:
        HeadwaterError: ``flag_invalid`` with everything wrong, ``conflict`` for an archived flag,
            ``invalid_parameter`` without a reason in a protected environment.
    """
    unknown = set(changes) - CONFIG_FIELDS
    if unknown:
        raise HeadwaterError("invalid_parameter", f"a flag's configuration has no {min(unknown)!r}")
    _change(config, changes, reason, others)
    return config


@action("flags.config.toggled", permission="flag.write", on="config")
def toggle_flag(*, actor: Actor, config: FlagConfig, enabled: bool, reason: str = "") -> FlagConfig:
    """Switch a flag on or off in one environment.

    Raises:
        HeadwaterError: as ``change_config``.
    """
    _change(config, {"enabled": enabled}, reason)
    return config


@action("flags.flag.archived", permission="flag.write", on="flag")
def archive_flag(*, actor: Actor, flag: Flag, reason: str = "") -> Flag:
    """Stop serving a flag: applications get what their code says.

    Raises:
        HeadwaterError: ``conflict`` while another flag builds on it, ``forbidden`` as in ``change_flag``.
    """
    if flag.archived_at is not None:
        return flag
    _may_everywhere(actor, flag, reason)
    for config in _configs(flag):
        waiting = [
            spec.key
            for spec in specs_of(config.environment).values()
            if any(item.flag == flag.key for item in spec.prerequisites)
        ]
        if waiting:
            raise HeadwaterError(
                "conflict", f"{waiting[0]!r} waits for {flag.key!r} in {config.environment.key}",
                hint="change that flag's prerequisites first",
            )  # fmt: skip
    flag.change(archived_at=timezone.now())
    return flag


@action("flags.flag.restored", permission="flag.write", on="flag")
def restore_flag(*, actor: Actor, flag: Flag, reason: str = "") -> Flag:
    """Serve an archived flag again, as it was.

    Raises:
        HeadwaterError: ``flag_invalid`` where it does not fit what other flags are now, ``forbidden``.
    """
    if flag.archived_at is None:
        return flag
    _may_everywhere(actor, flag, reason)
    flag.change(archived_at=None)
    for config in _configs(flag):
        check(config, specs_of(config.environment))
    return flag


def config_of(flag: Flag, environment: Environment) -> FlagConfig:
    """Return what an environment says about a flag, not saved yet where nobody has told it anything."""
    rows = FlagConfig.objects.for_org(flag.org_id).filter(flag=flag, environment=environment)
    found: FlagConfig | None = rows.select_related("flag", "environment__project").first()
    if found is None:
        found = unconfigured(flag, environment.pk)
        found.environment = environment
    return found


def _change(config: FlagConfig, changes: Mapping[str, Any], reason: str, others: Others = MappingProxyType({})) -> None:
    flag, environment = config.flag, config.environment
    if flag.archived_at is not None:
        raise HeadwaterError("conflict", f"{flag.key!r} is archived", hint="restore it first")
    _need_reason(environment, reason)
    check(config, _others(environment, others), **changes)
    if config._state.adding:
        for name, value in changes.items():
            setattr(config, name, value)
        config.save()
    elif any(getattr(config, name) != value for name, value in changes.items()):
        config.change(**changes, changed_at=timezone.now())


def _others(environment: Environment, known: Others) -> Mapping[str, FlagSpec]:
    found = known.get(environment.pk)
    return specs_of(environment) if found is None else found


def _may_everywhere(actor: Actor, flag: Flag, reason: str) -> None:
    """Ask for the permission where it counts: what every environment answers changes in the protected ones too."""
    for config in _configs(flag):
        if config.environment.protected:
            _need_reason(config.environment, reason)
            if actor.kind != "system":
                authorize(actor, "flag.write", config)


def _need_reason(environment: Environment, reason: str) -> None:
    if environment.protected and not reason.strip():
        raise HeadwaterError(
            "invalid_parameter", f"{environment.key} is protected, so a change needs a reason", hint="say why"
        )


def _configs(flag: Flag) -> list[FlagConfig]:
    configs = FlagConfig.objects.for_org(flag.org_id).filter(flag=flag).select_related("environment__project")
    found = list(configs)
    for config in found:
        config.flag = flag
    return found
