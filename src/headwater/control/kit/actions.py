"""Actions: the only way state changes. One transaction, one permission check, one audit row, one outbox row.

    @action("catalog.dataset.created", permission="dataset.write", on="project")
    def create_dataset(*, actor: Actor, project: Project, name: str) -> Dataset:
        dataset = Dataset(org=project.org, project=project, name=name)
        dataset.save()
        return dataset

Inside, rows write themselves down as they are saved and changed; when the body returns, the decorator turns the notes
into one audit row about the first row touched, with the others as related, and one outbox row. An action that
changed nothing leaves nothing. Actions may call actions: each leaves its own row, tied together by ``group_id``; one
that only called others leaves a row that counts them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, ParamSpec, TypeVar

from django.db import transaction

from headwater.control.kit import hooks
from headwater.control.kit.context import SYSTEM, ActionContext, Actor, bookkeeping, current_action, running
from headwater.control.kit.outbox import put
from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.core.permissions import PERMISSIONS

__all__ = ["ACTIONS", "SYSTEM", "ActionSpec", "Actor", "action", "bookkeeping", "current_action", "note"]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """A registered action: its audit name, the permission it needs and the argument that permission is held on."""

    name: str
    permission: str | None
    anybody: bool
    on: str | None
    function: Callable[..., Any]


_actions: Final[dict[str, ActionSpec]] = {}
ACTIONS: Final[Mapping[str, ActionSpec]] = MappingProxyType(_actions)


def action(
    name: str, *, permission: str | None, on: str | None = None, anybody: bool = False
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a function as the action ``name`` (``app.object.past_tense``).

    Args:
        name: the audit action, unique.
        permission: what the actor must hold; None for what only the system does.
        on: the argument that the permission must be held on; default: the first one after ``actor``.
        anybody: True for what people do to themselves, such as changing their password: no permission is asked for.

    The function takes keyword-only arguments, ``actor`` first; a ``reason`` argument is copied into the audit row.
    """
    if permission is not None and permission not in PERMISSIONS:
        raise ValueError(f"{name}: {permission!r} is not a permission")

    def register(function: Callable[P, R]) -> Callable[P, R]:
        parameters = list(inspect.signature(function).parameters.values())
        if any(p.kind is not p.KEYWORD_ONLY for p in parameters) or not parameters or parameters[0].name != "actor":
            raise TypeError(f"{name}: an action takes keyword-only arguments, actor first")
        if name in _actions and _actions[name].function.__qualname__ != function.__qualname__:
            raise ValueError(f"{name} is registered twice")
        scope = on or (parameters[1].name if permission and len(parameters) > 1 else None)
        spec = ActionSpec(name, permission, anybody, scope, function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return _run(spec, functools.partial(function, *args, **kwargs), kwargs)

        _actions[name] = ActionSpec(name, permission, anybody, scope, run)
        return run

    return register


def note(target: Any, **after: Any) -> None:
    """Note something about ``target`` in the running action that changes none of its fields."""
    context = current_action()
    if context is None:
        raise RuntimeError("no action runs")
    context.note(target, after)


def _run(spec: ActionSpec, body: Callable[[], R], arguments: Mapping[str, Any]) -> R:
    outer = current_action()
    context = ActionContext(
        name=spec.name,
        actor=arguments["actor"],
        group_id=outer.group_id if outer else new_id("grp"),
        reason=str(arguments.get("reason") or ""),
    )
    with transaction.atomic(), running(context):
        _authorize(spec, context.actor, arguments)
        result = body()
        if context.called and not context.changes:
            # All it did was done by others: its row says so, about what it was asked to act on.
            about = arguments.get(spec.on or "", context.touched[0])
            context.note(about, {"through": dict(context.called)})
        if context.changes:
            _record(context)
        if outer is not None and context.changes:
            outer.touched.extend(context.touched)
            outer.called[spec.name] += 1
        elif outer is None and context.changes:
            for hook in hooks.before_commits:
                hook(context.touched)
    return result


def _authorize(spec: ActionSpec, actor: Actor, arguments: Mapping[str, Any]) -> None:
    """Deny unless an authorizer has been asked; the system itself needs no permission."""
    if actor.kind == "system" or spec.anybody:
        return
    if spec.permission is None or not hooks.authorizers:
        raise HeadwaterError("forbidden", f"{spec.name} is for those who operate the platform")
    for authorizer in hooks.authorizers:
        authorizer(actor, spec.permission, arguments.get(spec.on or ""))


def _record(context: ActionContext) -> None:
    if len(hooks.recorders) != 1:
        raise RuntimeError(
            f"{context.name}: exactly one recorder writes audit rows, {len(hooks.recorders)} are plugged in"
        )
    message = hooks.recorders[0](context)
    put(topic=context.name, key=context.changes[0].id, payload=message)
