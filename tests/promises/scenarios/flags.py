"""How each action on flags is run."""

from __future__ import annotations

from datetime import date

from headwater.control.flags.actions import (
    archive_flag,
    change_config,
    change_flag,
    config_of,
    create_flag,
    restore_flag,
    toggle_flag,
)
from headwater.control.flags.models import Flag
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment

CONTENT = {
    "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "kind": "release",
    "owner": "a team", "remove_by": date(2027, 1, 1),
}  # fmt: skip


def make(environment: Environment) -> Flag:
    return create_flag(actor=SYSTEM, project=environment.project, key="new-home", content=CONTENT)


def change(environment: Environment) -> None:
    change_flag(actor=SYSTEM, flag=make(environment), content={"owner": "another team"})


def configure(environment: Environment) -> None:
    rules = [{"when": "country = 'DE'", "variant": "on"}]
    change_config(actor=SYSTEM, config=config_of(make(environment), environment), changes={"rules": rules})


def toggle(environment: Environment) -> None:
    toggle_flag(actor=SYSTEM, config=config_of(make(environment), environment), enabled=True)


def archive(environment: Environment) -> Flag:
    return archive_flag(actor=SYSTEM, flag=make(environment))


def restore(environment: Environment) -> None:
    restore_flag(actor=SYSTEM, flag=archive(environment))


SCENARIOS = {
    "flags.flag.created": make,
    "flags.flag.changed": change,
    "flags.flag.archived": archive,
    "flags.flag.restored": restore,
    "flags.config.changed": configure,
    "flags.config.toggled": toggle,
}
