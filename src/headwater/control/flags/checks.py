"""Whether a flag may be saved as it is meant: held against the environment's other flags, as the data plane will."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from headwater.control.flags.document import listed
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.kit.contributions import EnvironmentRef
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.flags import FlagFault, FlagSpec, check_flag, check_prerequisites


def configs_of(environment: Environment | EnvironmentRef) -> dict[str, FlagConfig]:
    """Return by key what an environment says about every flag of its project that is not archived.

    A flag that nobody has configured there is off.
    """
    flags = Flag.objects.for_org(environment.org_id).filter(project_id=environment.project_id, archived_at=None)
    configs = FlagConfig.objects.for_org(environment.org_id).filter(environment_id=environment.id)
    known = {config.flag_id: config for config in configs}
    found = {}
    for flag in flags.order_by("key"):
        config = found[flag.key] = known.get(flag.pk) or unconfigured(flag, environment.id)
        config.flag = flag
    return found


def specs_of(environment: Environment) -> dict[str, FlagSpec]:
    """Return the specs of an environment's flags by key."""
    return {key: config.to_spec() for key, config in configs_of(environment).items()}


def unconfigured(flag: Flag, environment_id: uuid.UUID) -> FlagConfig:
    """Return what an environment says that nobody has told anything: off. The salt is the flag's own, and so stays."""
    return FlagConfig(
        org_id=flag.org_id,
        flag=flag,
        environment_id=environment_id,
        default_variant=flag.off_variant,
        salt=flag.pk.hex[-16:],
    )


def check(config: FlagConfig, others: Mapping[str, FlagSpec], **instead: Any) -> FlagSpec:
    """Return the spec of a configuration with ``instead`` in it; ``others`` are the environment's flags.

    Raises:
        HeadwaterError: ``flag_invalid`` with everything wrong, in this flag or in those that build on it.
    """
    try:
        spec = config.to_spec(**instead)
    except ValidationError as error:
        raise _invalid(config.flag.key, [FlagFault(**item) for item in listed(error)]) from error
    faults = [*check_flag(spec), *check_prerequisites(spec, others)]
    if not faults:
        faults = list(_dependents(spec, others))
    if faults:
        raise _invalid(config.flag.key, faults)
    return spec


def _dependents(spec: FlagSpec, others: Mapping[str, FlagSpec]) -> Iterable[FlagFault]:
    """Find what building on ``spec`` would no longer be right for others."""
    for other in others.values():
        for item in other.prerequisites:
            gone = [name for name in item.variants if item.flag == spec.key and name not in spec.variants]
            if gone:
                yield FlagFault("variants", f"{other.key!r} waits for {gone[0]!r}; change that flag first")


def _invalid(key: str, faults: list[FlagFault]) -> HeadwaterError:
    errors = [{"path": fault.path, "message": fault.message} for fault in faults]
    return HeadwaterError("flag_invalid", f"{key}: {faults[0].path}: {faults[0].message}", extra={"errors": errors})
