"""Every change to models: push, check, approve and archive versions, move aliases, share traffic and take it back."""

from __future__ import annotations

from headwater.control.registry.aliases import CHALLENGER, CHAMPION, move_alias, remove_alias
from headwater.control.registry.rollouts import (
    change_serving,
    deploy_version,
    promote_version,
    roll_back,
    route_model,
)
from headwater.control.registry.versions import (
    approve_version,
    archive_version,
    create_model,
    describe_model,
    record_checks,
    register_version,
    tag_model,
    tag_version,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "approve_version",
    "archive_version",
    "change_serving",
    "create_model",
    "deploy_version",
    "describe_model",
    "move_alias",
    "promote_version",
    "record_checks",
    "register_version",
    "remove_alias",
    "roll_back",
    "route_model",
    "tag_model",
    "tag_version",
]
