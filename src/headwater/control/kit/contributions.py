"""What apps contribute to the snapshots of environments.

An app registers one function per section of the snapshot; the compiler in ``snapshots`` asks them all. The registry
lies here, below both, so that neither side imports the other.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from django.db import models

Section = Literal["datasets", "endpoints", "models", "features", "overrides", "flags", "keys", "policies"]


@dataclass(frozen=True, slots=True)
class EnvironmentRef:
    """Which environment a contribution is for, by primary keys."""

    id: uuid.UUID
    project_id: uuid.UUID
    org_id: uuid.UUID
    protected: bool


Contribute = Callable[[EnvironmentRef], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Contribution:
    """A section's function and the models whose change makes it worth asking again."""

    contribute: Contribute
    models: tuple[type[models.Model], ...]


_contributions: Final[dict[Section, Contribution]] = {}
CONTRIBUTIONS: Final[Mapping[Section, Contribution]] = MappingProxyType(_contributions)


def contribute(section: Section, function: Contribute, *, models: tuple[type[models.Model], ...]) -> None:
    """Register ``function`` for ``section``; called from the ``contributions`` module of an app.

    Args:
        section: a member of ``core.snapshot.Snapshot``.
        function: returns the entries by name; an entry is a spec of ``core.snapshot``, plain data for one, or a
            ``HeadwaterError`` saying why it cannot be made, in which case the last good entry of that name stays.
        models: the models it reads; actions that touch one of them publish a new snapshot.
    """
    _contributions[section] = Contribution(function, models)
