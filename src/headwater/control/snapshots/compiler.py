"""Compiling one environment: what every app contributes, with the last good spec where one is broken."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import transaction
from pydantic import BaseModel, ValidationError

from headwater.control.kit.contributions import CONTRIBUTIONS, Contribution, EnvironmentRef, Section
from headwater.control.kit.plain import canonical
from headwater.control.orgs.models import Environment
from headwater.control.snapshots.signing import mask_key
from headwater.core import snapshot as core
from headwater.core.errors import HeadwaterError
from headwater.core.flags import FlagSpec
from headwater.core.logging import get_logger
from headwater.core.overrides import OverrideSpec
from headwater.core.policies import PolicySpec

_log = get_logger(__name__)
_SPECS: Final[Mapping[Section, type[BaseModel]]] = {
    "datasets": core.DatasetSpec,
    "endpoints": core.EndpointSpec,
    "models": core.ModelSpec,
    "features": core.FeatureViewSpec,
    "overrides": OverrideSpec,
    "flags": FlagSpec,
    "keys": core.KeySpec,
    "policies": PolicySpec,
}

_NEVER_OLD: Final = frozenset({"keys", "policies"})
"""What it was before is never a safe stand-in for these."""


@dataclass(slots=True)
class Compiled:
    """What an environment should serve, and what could not be compiled for it."""

    environment: core.EnvironmentSpec
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[dict[str, str]] = field(default_factory=list)

    def content_sha256(self) -> str:
        """Return the digest of what is served, whatever its number and time."""
        sections = {
            name: {key: _plain(spec) for key, spec in entries.items()} for name, entries in self.sections.items()
        }
        return hashlib.sha256(
            canonical({"environment": self.environment.model_dump(mode="json"), **sections}).encode()
        ).hexdigest()


def compile_environment(environment: Environment, previous: core.Snapshot | None) -> Compiled:
    """Ask every app for its section of ``environment``.

    A part that cannot be made is replaced by the last good one of ``previous`` and listed in ``problems``: one broken
    spec must not keep another change, least of all a revoked key, from being published.
    """
    compiled = Compiled(
        core.EnvironmentSpec(
            id=environment.public_id,
            key=environment.key,
            project=environment.project.slug,
            organization=environment.org.slug,
            protected=environment.protected,
            mask_key=mask_key(environment.public_id),
        )
    )
    reference = EnvironmentRef(environment.id, environment.project_id, environment.org_id, environment.protected)
    for section, contribution in CONTRIBUTIONS.items():
        last = getattr(previous, section) if previous else {}
        compiled.sections[section] = _compile_section(section, contribution, reference, last, compiled.problems)
    return compiled


def _compile_section(
    section: Section,
    contribution: Contribution,
    environment: EnvironmentRef,
    last: Mapping[str, Any],
    problems: list[dict[str, str]],
) -> dict[str, Any]:
    try:
        # A savepoint, so that a failing query leaves the action's transaction usable.
        with transaction.atomic():
            entries = contribution.contribute(environment)
    except Exception as error:
        if section in _NEVER_OLD:
            raise
        _report(problems, section, "", error)
        return dict(last)
    made: dict[str, Any] = {}
    for name, entry in entries.items():
        try:
            made[name] = _to_spec(section, entry)
        except (HeadwaterError, ValidationError) as error:
            _report(problems, section, name, error)
            if section == "policies":
                raise  # without it the rows that it hides would be shown
            if name in last and section not in _NEVER_OLD:
                made[name] = last[name]
    return made


def _to_spec(section: Section, entry: Any) -> BaseModel:
    if isinstance(entry, HeadwaterError):
        raise entry
    return entry if isinstance(entry, BaseModel) else _SPECS[section].model_validate(entry)


def _report(problems: list[dict[str, str]], section: Section, name: str, error: Exception) -> None:
    problems.append({"section": section, "name": name, "problem": str(error)[:1_000]})
    _log.error("snapshot_part_failed", section=section, name=name, error=str(error)[:1_000])


def _plain(spec: BaseModel) -> dict[str, Any]:
    plain = spec.model_dump(mode="json")
    if "allowances" in plain:
        plain["allowances"].sort()
    return plain
