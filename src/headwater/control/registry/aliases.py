"""Names for versions that move: ``champion`` follows promotions, ``challenger`` what is tried beside it."""

# ruff: noqa: ARG001 - actor and reason are for the decorator

from __future__ import annotations

from typing import Final

from headwater.control.kit.actions import Actor, action
from headwater.control.registry.models import AliasMove, Model, ModelAlias, ModelVersion
from headwater.control.registry.records import who_and_why
from headwater.core.errors import HeadwaterError

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"


@action("registry.alias.moved", permission="model.write", on="version")
def move_alias(*, actor: Actor, version: ModelVersion, name: str, reason: str = "") -> ModelAlias:
    """Let the alias ``name`` mean ``version``; raises ``conflict`` for one that is archived."""
    if version.state == ModelVersion.State.ARCHIVED:
        raise HeadwaterError("conflict", f"{version} is archived", hint="choose another version")
    alias = find_alias(version.model, name)
    before = alias.version if alias is not None else None
    if alias is None:
        alias = ModelAlias(org_id=version.org_id, model=version.model, name=name, version=version)
        alias.save()
    elif not alias.change(version=version):
        return alias
    _note(version.model, name, before, version)
    return alias


@action("registry.alias.removed", permission="model.write", on="alias")
def remove_alias(*, actor: Actor, alias: ModelAlias, reason: str = "") -> None:
    """Let an alias mean nothing any more."""
    alias.remove()
    _note(alias.model, alias.name, alias.version, None)


def find_alias(model: Model, name: str) -> ModelAlias | None:
    """Return what an alias means, None where nothing is called so."""
    aliases = ModelAlias.objects.for_org(model.org_id).filter(model=model, name=name)
    found: ModelAlias | None = aliases.select_related("version__model", "model").first()
    return found


def drop_alias(actor: Actor, version: ModelVersion, name: str, reason: str) -> None:
    """Remove an alias if it means this very version."""
    alias = find_alias(version.model, name)
    if alias is not None and alias.version_id == version.pk:
        remove_alias(actor=actor, alias=alias, reason=reason)


def _note(model: Model, name: str, before: ModelVersion | None, version: ModelVersion | None) -> None:
    move = AliasMove(org_id=model.org_id, model=model, name=name, before=before, version=version, **who_and_why())
    move.save()
