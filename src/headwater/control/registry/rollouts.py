"""Moving traffic among versions, and back. Every change is a rollout, numbered by model and environment."""

# ruff: noqa: ARG001 - actor and reason are for the decorator

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headwater.control.kit.actions import Actor, action, note
from headwater.control.kit.outbox import put
from headwater.control.orgs.models import Environment
from headwater.control.registry.aliases import CHALLENGER, CHAMPION, drop_alias, find_alias, move_alias
from headwater.control.registry.models import Model, ModelVersion, Rollout
from headwater.control.registry.queries import Role, Share, find_champion, find_fallback, list_shares
from headwater.control.registry.records import who_and_why
from headwater.control.registry.standing import Standing
from headwater.control.registry.traffic import WHOLE, check_place, roll_out
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.snapshot import RouteSpec, ServingSpec

ROLLED_BACK_EVENT: Final = "model.rolled_back"
WATCH: Final = Actor("system", "registry.watch", "Headwater, watching deployments")
"""Who takes back what the data plane stopped routing to."""
Cause = Rollout.Cause
_log = get_logger(__name__)


@action("registry.model.routed", permission="model.write", on="environment")
def route_model(
    *,
    actor: Actor,
    model: Model,
    environment: Environment,
    routes: Sequence[RouteSpec],
    pinned: Sequence[int] = (),
    reason: str = "",
) -> Rollout | None:
    """Replace the routes of a model in an environment; ``pinned`` versions answer only where the path names them.

    Raises:
        HeadwaterError: ``invalid_parameter`` when the weights do not sum to 10,000 or a version is named twice,
            ``not_found`` for an unknown version or environment, ``conflict`` for one that may not be served there.
    """
    check_place(model, environment)
    found = {version.number: version for version in ModelVersion.objects.for_org(model.org_id).filter(model=model)}
    wanted: list[tuple[int, str, int]] = [(route.version, route.role, route.weight_bps) for route in routes]
    wanted += [(number, Role.PINNED, 0) for number in pinned]
    missing = [number for number, _, _ in wanted if number not in found]
    if missing:
        raise HeadwaterError("not_found", f"the model has no version {missing[0]}")
    shares = [Share(found[number], role, weight) for number, role, weight in wanted]
    return roll_out(model, environment, shares, Cause.ROUTED)


@action("registry.version.promoted", permission="model.write", on="environment")
def promote_version(*, actor: Actor, version: ModelVersion, environment: Environment, reason: str = "") -> ModelVersion:
    """Let a version answer all of an environment's requests and make it the champion; canaries end.

    Shadows and pinned versions stay. Where the challenger is promoted, what else is tried becomes the challenger.
    """
    check_place(version.model, environment)
    before = Standing.of(version.model, environment)
    others = [
        share for share in list_shares(version.model, environment) if not share.answers and share.version != version
    ]
    roll_out(version.model, environment, [Share(version), *others], Cause.PROMOTED)
    move_alias(actor=actor, version=version, name=CHAMPION, reason=reason)
    _pass_on(actor, version, others, reason)
    note(version, changes=before.changes(Standing.of(version.model, environment)))
    return version


@action("registry.version.deployed", permission="model.write", on="environment")
def deploy_version(
    *, actor: Actor, version: ModelVersion, environment: Environment, role: str, weight_bps: int, reason: str = ""
) -> ModelVersion:
    """Try a version beside the champion: as a canary with a share of the traffic, as a shadow, or pinned.

    A canary's share comes from the champion; if the version is the champion itself, the one before it gets the rest.

    Raises:
        HeadwaterError: ``conflict`` where no champion is left to answer the rest, or the version answers already.
    """
    check_place(version.model, environment)
    shares = list_shares(version.model, environment)
    others = [share for share in shares if share.version != version]
    if role == Role.CANARY:
        shares = _with_canary(version, environment, shares, weight_bps)
    elif any(share.answers and share.version == version for share in shares):
        raise HeadwaterError(
            "conflict", f"{version} answers requests in {environment.key}", hint="promote another version first"
        )
    else:
        shares = [*others, Share(version, role, 0 if role == Role.PINNED else weight_bps)]
    roll_out(version.model, environment, shares, Cause.DEPLOYED)
    champion, named = find_champion(shares), find_alias(version.model, CHAMPION)
    if champion is not None and named is not None and named.version == version:
        move_alias(actor=actor, version=champion, name=CHAMPION, reason=reason)
    if role != Role.PINNED:
        move_alias(actor=actor, version=version, name=CHALLENGER, reason=reason)
    return version


@action("registry.version.rolled_back", permission="model.write", on="environment")
def roll_back(
    *,
    actor: Actor,
    model: Model,
    environment: Environment,
    version: ModelVersion | None = None,
    reason: str = "",
) -> Rollout:
    """Take back what was rolled out last: end the canaries if there are any, else let the champion before answer.

    A champion that was a shadow until its promotion is one again, unless Headwater took it back for what it did.

    Args:
        actor: who, or the system when a version was tripped.
        model: the model.
        environment: where.
        version: take this one out, whatever it does: its share goes to the champion, or to the one before it.
        reason: why, for the audit log, the history and the event.

    Raises:
        HeadwaterError: ``conflict`` where it is not served, or there is nothing to go back to.
    """
    check_place(model, environment)
    before = Standing.of(model, environment)
    shares = list_shares(model, environment)
    leaving = _leaving(shares, version, environment)
    champion = find_champion(shares)
    heir = (
        champion if champion not in leaving else find_fallback(model, environment.pk, protected=environment.protected)
    )
    if heir is None:
        raise HeadwaterError(
            "conflict",
            f"no version was champion of {model.name} in {environment.key} before {champion}",
            hint="promote a version by its number",
        )
    changes: list[str] = []  # noted first, as this is what the event is about, and known last
    for gone in leaving:
        note(gone, rolled_back_in=environment.key, to=heir.number, changes=changes)
    again = _shadow_before(leaving, champion, environment) if version is None and actor.id != WATCH.id else []
    freed = sum(share.weight_bps for share in shares if share.version in leaving and share.answers)
    kept = [*_inherit(shares, leaving, heir, freed), *again]
    rollout = roll_out(model, environment, kept, Cause.ROLLED_BACK)
    assert rollout is not None, "something left"
    _follow(actor, leaving, heir, kept, reason)
    changes += before.changes(Standing.of(model, environment))
    _tell(model, environment, leaving, heir)
    return rollout


@action("registry.serving.changed", permission="model.write", on="environment")
def change_serving(
    *,
    actor: Actor,
    model: Model,
    environment: Environment,
    rules: ServingSpec,
    declared: ServingSpec | None = None,
    reason: str = "",
) -> Rollout | None:
    """Change the rules by which a model is served in an environment; ``declared`` notes what its directory says."""
    check_place(model, environment)
    shares = list_shares(model, environment)
    return roll_out(model, environment, shares, Cause.RULED, rules=rules, declared=declared)


def _with_canary(
    version: ModelVersion, environment: Environment, shares: Sequence[Share], weight_bps: int
) -> list[Share]:
    champion = find_champion(shares)
    if champion == version:
        champion = find_fallback(version.model, environment.pk, protected=environment.protected)
    if champion is None:
        raise HeadwaterError(
            "conflict",
            f"no other version of {version.model.name} can answer the rest in {environment.key}",
            hint="promote a version to all traffic first",
        )
    others = [share for share in shares if share.version not in (version, champion)]
    rest = WHOLE - weight_bps - sum(share.weight_bps for share in others if share.answers)
    if not 0 < weight_bps < WHOLE or rest < 0:
        raise HeadwaterError(
            "invalid_parameter",
            f"a canary cannot have {weight_bps / 100:g} % of the traffic here",
            hint="leave some to the champion and the other canaries, or promote it",
        )
    return [Share(champion, Role.PRIMARY, rest), Share(version, Role.CANARY, weight_bps), *others]


def _leaving(shares: Sequence[Share], version: ModelVersion | None, environment: Environment) -> list[ModelVersion]:
    """Return which versions a rollback takes out."""
    if version is not None:
        leaving = [share.version for share in shares if share.version == version]
    else:
        canaries = [share.version for share in shares if share.role == Role.CANARY]
        champion = find_champion(shares)
        leaving = canaries or ([champion] if champion else [])
    if not leaving:
        what = str(version) if version else "it"
        raise HeadwaterError("conflict", f"{what} is not served in {environment.key}", hint="promote a version")
    return leaving


def _inherit(shares: Sequence[Share], leaving: Sequence[ModelVersion], heir: ModelVersion, freed: int) -> list[Share]:
    """Return the shares without those that leave; the heir gets theirs."""
    staying = [share for share in shares if share.version not in leaving and share.version != heir]
    own = sum(share.weight_bps for share in shares if share.version == heir and share.answers)
    return [Share(heir, Role.PRIMARY, own + freed), *staying]


def _shadow_before(
    leaving: Sequence[ModelVersion], champion: ModelVersion | None, environment: Environment
) -> list[Share]:
    """Return as a shadow the champion that leaves, if it was one until it was promoted."""
    if champion is None or champion not in leaving:
        return []
    rollouts = Rollout.objects.for_org(champion.org_id).filter(model=champion.model, environment=environment)
    promoted = rollouts.filter(champion=champion, cause=Cause.PROMOTED).order_by("-number").first()
    earlier = None if promoted is None else rollouts.filter(number__lt=promoted.number).order_by("-number").first()
    routes = [] if earlier is None else earlier.routes
    return [
        Share(champion, Role.SHADOW, route["weight_bps"])
        for route in routes
        if route["version"] == champion.number and route["role"] == Role.SHADOW
    ]


def _follow(
    actor: Actor, leaving: Sequence[ModelVersion], heir: ModelVersion, kept: Sequence[Share], reason: str
) -> None:
    """Let the aliases follow a rollback."""
    champion = find_alias(heir.model, CHAMPION)
    if champion is not None and champion.version in leaving:
        move_alias(actor=actor, version=heir, name=CHAMPION, reason=reason)
    for gone in leaving:
        _pass_on(actor, gone, kept, reason)
    shadows = [share.version for share in kept if share.role == Role.SHADOW and share.version in leaving]
    if shadows and find_alias(heir.model, CHALLENGER) is None:
        move_alias(actor=actor, version=shadows[0], name=CHALLENGER, reason=reason)


def _pass_on(actor: Actor, version: ModelVersion, kept: Sequence[Share], reason: str) -> None:
    """Let the challenger's name go from a version to the newest that is still tried, where there is one."""
    alias = find_alias(version.model, CHALLENGER)
    if alias is None or alias.version_id != version.pk:
        return
    tried = [share.version for share in kept if share.role in (Role.CANARY, Role.SHADOW)]
    if tried:
        move_alias(actor=actor, version=max(tried, key=lambda one: one.number), name=CHALLENGER, reason=reason)
    else:
        drop_alias(actor, version, CHALLENGER, reason)


def _tell(model: Model, environment: Environment, leaving: Sequence[ModelVersion], heir: ModelVersion) -> None:
    why = who_and_why()
    facts = {
        "model": model.name,
        "environment": environment.public_id,
        "environment_key": environment.key,
        "from": [version.number for version in leaving],
        "to": heir.number,
        "reason": why["reason"],
        "by": why["by_label"],
        "automatic": why["by_id"] == WATCH.id,
    }
    put(topic=ROLLED_BACK_EVENT, key=model.public_id, payload=facts)
    _log.warning("model_rolled_back", **facts)
