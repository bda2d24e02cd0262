"""How the versions of a model stand in an environment, and what a change made of that, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Model
from headwater.control.registry.queries import Role, Share, list_shares


@dataclass(frozen=True, slots=True)
class Standing:
    """What versions do in an environment, by number, and which number each alias means."""

    shares: Mapping[int, Share]
    aliases: Mapping[str, int]

    @classmethod
    def of(cls, model: Model, environment: Environment) -> Standing:
        """Return how things stand now."""
        shares = {share.version.number: share for share in list_shares(model, environment)}
        return cls(shares, dict(model.aliases.order_by("name").values_list("name", "version__number")))

    def changes(self, after: Standing) -> list[str]:
        """Return a sentence for each version and alias that stands otherwise ``after``."""
        numbers = sorted({*self.shares, *after.shares})
        roles = [(f"version {number}", _role(self, number), _role(after, number)) for number in numbers]
        names = sorted({*self.aliases, *after.aliases})
        aliases = [(name, _version(self, name), _version(after, name)) for name in names]
        return [f"{what}: {was}, now {now}" for what, was, now in (*roles, *aliases) if was != now]


def _role(standing: Standing, number: int) -> str:
    share = standing.shares.get(number)
    if share is None:
        return "not served"
    return str(share.role) if share.role == Role.PINNED else f"{share.role} {share.percent}"


def _version(standing: Standing, name: str) -> str:
    number = standing.aliases.get(name)
    return "nothing" if number is None else f"version {number}"
