"""What applying a project would change about its flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headwater.control.catalog.planning import Plan
from headwater.control.catalog.project import DeclaredFlag, Project
from headwater.control.flags.actions import change_config, change_flag, config_of, create_flag, restore_flag
from headwater.control.flags.checks import check, specs_of
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.flags.words import differences
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.flags import FlagSpec

REASON: Final = "applied from the project directory"


def plan_flags(plan: Plan, environment: Environment, project: Project) -> None:
    """Plan every flag of a project directory, each held against what the environment will have afterwards."""
    rows = Flag.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    existing = {flag.key: flag for flag in rows}
    specs = specs_of(environment)
    wanted = {key: _Wanted(environment, existing.get(key), item) for key, item in project.flags.items()}
    for key, one in wanted.items():
        specs |= one.spec_for(plan, key)
    for key, one in wanted.items():
        if key in specs and one.is_right(plan, specs):
            _plan_flag(plan, environment, one, specs)
    for key, flag in existing.items():
        if key not in project.flags and flag.archived_at is None:
            plan.add("flag", key, "unchanged", "not in the project directory; left alone (archive it to stop it)")


class _Wanted:
    """A declared flag beside what there is of it."""

    def __init__(self, environment: Environment, flag: Flag | None, item: DeclaredFlag) -> None:
        document = item.flag.document
        self.item = item
        self.flag = flag
        self.content = document.content()
        self.changes = document.config(environment.key)
        self.meant = flag if flag is not None else _new(environment, item.flag.key, self.content)
        self.config = config_of(self.meant, environment) if flag is not None else _blank(self.meant, environment)
        # To be judged as it will be: nothing of this is saved.
        self.judged = FlagConfig(
            org_id=environment.org_id, flag=_new(environment, item.flag.key, self.content), environment=environment,
            **{name: getattr(self.config, name) for name in _COPIED} | self.changes,
        )  # fmt: skip

    def spec_for(self, plan: Plan, key: str) -> dict[str, FlagSpec]:
        """Return the spec by its key, or nothing once the plan has the reason why there is none."""
        if self.flag is not None and self.flag.type != self.content["type"]:
            plan.refuse(
                self.item.file.source, "type", f"{key!r} is of type {self.flag.type}, which cannot change; "
                "make another flag",
            )  # fmt: skip
            return {}
        try:
            return {key: check(self.judged, {}, prerequisites=[])}
        except HeadwaterError as error:
            self._refuse(plan, error)
            return {}

    def is_right(self, plan: Plan, specs: Mapping[str, FlagSpec]) -> bool:
        """Return whether it fits the environment's other flags; the plan has the reason where not."""
        try:
            check(self.judged, specs)
        except HeadwaterError as error:
            self._refuse(plan, error)
            return False
        return True

    def _refuse(self, plan: Plan, error: HeadwaterError) -> None:
        for fault in error.extra["errors"]:
            plan.refuse(self.item.file.source, fault["path"], fault["message"])


_COPIED: Final = ("enabled", "default_variant", "rules", "prerequisites", "enabled_from", "enabled_until", "salt")


def _new(environment: Environment, key: str, content: Mapping[str, Any]) -> Flag:
    return Flag(org_id=environment.org_id, project_id=environment.project_id, key=key, **content)


def _blank(flag: Flag, environment: Environment) -> FlagConfig:
    return FlagConfig(org_id=environment.org_id, flag=flag, environment=environment, default_variant=flag.off_variant)


def _plan_flag(plan: Plan, environment: Environment, one: _Wanted, specs: Mapping[str, FlagSpec]) -> None:
    key, flag, content, changes = one.item.flag.key, one.flag, one.content, one.changes
    others = {environment.pk: specs}
    if flag is None:

        def create(actor: Actor) -> None:
            made = create_flag(actor=actor, project=environment.project, key=key, content=content)
            change_config(
                actor=actor, config=config_of(made, environment), changes=changes, reason=REASON, others=others
            )

        shown = differences(one.config, changes)
        plan.add("flag", key, "create", f"{content['type']}: {', '.join(content['variants'])}", *shown, step=create)
        return
    details = ["is served again"] if flag.archived_at is not None else []
    details += differences(flag, content) + differences(one.config, changes)
    if not details:
        plan.add("flag", key, "unchanged")
        return

    def update(actor: Actor) -> None:
        if flag.archived_at is not None:
            restore_flag(actor=actor, flag=flag, reason=REASON)
        change_flag(actor=actor, flag=flag, content=content, reason=REASON, others=others)
        change_config(actor=actor, config=config_of(flag, environment), changes=changes, reason=REASON, others=others)

    plan.add("flag", key, "update", *details, step=update)
