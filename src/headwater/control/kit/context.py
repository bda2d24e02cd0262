"""The action that runs now: what it changed so far, for whom. ``kit.actions`` opens and closes it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

ActorKind = Literal["user", "service_account", "system"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something. ``label`` is copied into the audit log, so it outlives the row it names.

    ``subject`` is what ``access`` checks permissions against: a user, an API key, or None for the system itself.
    """

    kind: ActorKind
    id: str
    label: str
    subject: Any = None
    on_behalf_of: str = ""


SYSTEM = Actor("system", "system", "Headwater")


class Target(Protocol):
    """What a change is noted about: an ``Entity``, or anything else that names its ``audit_kind``."""

    @property
    def public_id(self) -> str:
        """Return the id everybody sees."""
        ...

    @property
    def tenant_id(self) -> uuid.UUID | None:
        """Return the organisation concerned."""
        ...


@dataclass(slots=True)
class Change:
    """What happened to one row: plain fields before and after, only those that differ."""

    target: Any
    verb: Literal["created", "changed", "removed", "noted"]
    kind: str
    id: str
    label: str
    tenant_id: uuid.UUID | None
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(slots=True)
class ActionContext:
    """One running action.

    ``changes`` are its own; ``touched`` also holds the rows of the actions it called, and ``called`` counts those.
    """

    name: str
    actor: Actor
    group_id: str
    reason: str = ""
    changes: list[Change] = field(default_factory=list)
    touched: list[Any] = field(default_factory=list)
    called: Counter[str] = field(default_factory=Counter)

    def note_created(self, target: Target, after: dict[str, Any]) -> None:
        """Note a new row."""
        self._note("created", target, {}, after)

    def note_changed(self, target: Target, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Note changed fields; several changes of one row become one."""
        for change in self.changes:
            if change.target is target and change.verb in ("created", "changed"):
                change.before = before | change.before if change.verb == "changed" else {}
                change.after |= after
                return
        self._note("changed", target, before, after)

    def note_removed(self, target: Target, before: dict[str, Any]) -> None:
        """Note a deleted row."""
        self._note("removed", target, before, {})

    def note(self, target: Target, after: dict[str, Any]) -> None:
        """Note something about a row that changed nothing in it, such as a replay that was asked for elsewhere."""
        self._note("noted", target, {}, after)

    def _note(
        self, verb: Literal["created", "changed", "removed", "noted"], target: Target, before: Any, after: Any
    ) -> None:
        # Asked of the object, not of its type: a request's user is a lazy stand-in.
        kind = getattr(target, "audit_kind", None) or target._meta.label_lower  # type: ignore[attr-defined]
        self.changes.append(
            Change(target, verb, kind, target.public_id, str(target)[:200], target.tenant_id, before, after)
        )
        self.touched.append(target)


_running: ContextVar[ActionContext | None] = ContextVar("headwater_action", default=None)
_bookkeeping: ContextVar[bool] = ContextVar("headwater_bookkeeping", default=False)


def current_action() -> ActionContext | None:
    """Return the action that runs in this context, if any."""
    return _running.get()


@contextmanager
def running(context: ActionContext) -> Iterator[None]:
    """Make ``context`` the running action."""
    token = _running.set(context)
    try:
        yield
    finally:
        _running.reset(token)


def is_bookkeeping() -> bool:
    """Return whether bulk writes are allowed here."""
    return _bookkeeping.get()


@contextmanager
def bookkeeping() -> Iterator[None]:
    """Allow writes that nobody decided, such as how many rows wait in a group; never a change of state."""
    token = _bookkeeping.set(True)
    try:
        yield
    finally:
        _bookkeeping.reset(token)
