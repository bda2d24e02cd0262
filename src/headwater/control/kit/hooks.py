"""Where apps above the kit take part in actions, so that the kit need not know them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from headwater.control.kit.context import ActionContext, Actor


class Recorder(Protocol):
    """Writes the audit row of a finished action and returns what the outbox should carry."""

    def __call__(self, context: ActionContext) -> dict[str, Any]:
        """Write it inside the running transaction."""
        ...


Authorizer = Callable[[Actor, str, Any], None]
BeforeCommit = Callable[[Sequence[Any]], None]

recorders: Final[list[Recorder]] = []
authorizers: Final[list[Authorizer]] = []
before_commits: Final[list[BeforeCommit]] = []


def plug(
    *,
    recorder: Recorder | None = None,
    authorizer: Authorizer | None = None,
    before_commit: BeforeCommit | None = None,
) -> None:
    """Let an app above the kit take part in actions; called once from its ``AppConfig.ready``.

    Args:
        recorder: writes the audit row (``audit``).
        authorizer: raises ``forbidden`` when an actor lacks a permission on a row (``access``).
        before_commit: sees every row the outermost action touched, inside its transaction (``snapshots``).
    """
    if recorder is not None:
        recorders.append(recorder)
    if authorizer is not None:
        authorizers.append(authorizer)
    if before_commit is not None:
        before_commits.append(before_commit)
