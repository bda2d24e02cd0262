"""What flags put into the snapshot of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.control.flags.checks import configs_of
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.kit.contributions import EnvironmentRef, contribute


def contribute_flags(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return every flag of the project that is not archived, as plain data: the compiler judges each."""
    return {key: config.to_plain() for key, config in configs_of(environment).items()}


contribute("flags", contribute_flags, models=(Flag, FlagConfig))
