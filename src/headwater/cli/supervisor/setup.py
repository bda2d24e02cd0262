"""What happens before control starts: the home's first contents, the database's migrations, the project applied.

It runs in a process of its own, so that the supervisor stays small. The answer travels through a pipe, because it may
hold the administrator's password.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field

from headwater.cli.supervisor import ready
from headwater.cli.supervisor.child import ChildSpec
from headwater.core.settings import Settings


@dataclass(frozen=True, slots=True)
class SetUp:
    """What the set-up has to tell.

    Attributes:
        email: the administrator.
        password: only on the first start.
        api_key: the key for commands on this machine.
        try_path: a path of the services that answers a GET with that key.
        problem: why the project was not applied, if it was not.
        strangers: environments with data in this home that the control database does not know.
    """

    email: str | None = None
    password: str | None = None
    api_key: str | None = None
    try_path: str | None = None
    problem: str | None = None
    strangers: list[str] = field(default_factory=list)


def setup_spec(settings: Settings) -> ChildSpec:
    """Return how to run the set-up."""
    return ChildSpec(
        "setup",
        (sys.executable, "-P", "-m", "headwater.cli.prepare"),
        ready.always,
        environment=settings.to_environment(),
        answers=True,
    )


def write_setup(setup: SetUp) -> str:
    """Return the answer as text."""
    return json.dumps(asdict(setup))


def read_setup(answer: bytes) -> SetUp:
    """Read what ``write_setup`` wrote."""
    return SetUp(**json.loads(answer))
