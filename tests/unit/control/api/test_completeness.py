"""Whatever can be done can be done over the control API: no action is for the console or the admin alone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

from headwater.control.api.urls import api
from headwater.control.kit.actions import ACTIONS

ELSEWHERE: Final = {
    "identity.account.unlinked": "allauth's page of a person's own accounts at identity providers",
    "identity.invitation.accepted": "the link in a mail opens a page: who follows it proves the address",
    "identity.provider.bypassed": "noted when an owner kept for recovery signs in",
    "identity.second_factor.added": "a person at a browser proves that they hold the authenticator",
    "identity.second_factor.removed": "a person at a browser who has just signed in again",
    "identity.user.email_verified": "the link in a mail opens a page",
    "identity.user.logged_in": "noted when somebody signs in",
    "identity.user.password_changed": "a person at a browser who types the old password",
}
"""Actions that the control API does not have, each with where it happens and why there alone."""
OURS: Final = "headwater.control."


def operations() -> Iterator[Any]:
    """Yield every operation of the control API."""
    for _, router in api._routers:
        for path in router.path_operations.values():
            yield from path.operations


def named_by(function: FunctionType) -> Iterator[Any]:
    """Yield what ``function`` names: globals, members of modules, imports inside it; and what it wraps."""
    codes: list[CodeType] = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        found = [
            import_module(name) if name.startswith(OURS) else function.__globals__.get(name) for name in code.co_names
        ]
        modules = [one for one in found if isinstance(one, ModuleType) and one.__name__.startswith("headwater.")]
        yield from found
        yield from (vars(module).get(name) for module in modules for name in code.co_names)
    yield getattr(function, "__wrapped__", None)


def reached() -> set[str]:
    """Return the names of the actions that the views of the API lead to, by the names in the code of the control plane.

    A class that is named counts with its methods: plans keep steps that are carried out later.
    """
    seen: set[int] = set()
    ahead: list[Any] = [operation.view_func for operation in operations()]
    while ahead:
        one = ahead.pop()
        if id(one) in seen or not getattr(one, "__module__", None) or not str(one.__module__).startswith(OURS):
            continue
        seen.add(id(one))
        if isinstance(one, FunctionType):
            ahead.extend(named_by(one))
        elif isinstance(one, type):
            ahead.extend(vars(one).values())
    # Only now: modules that views import as they run have registered their actions by now.
    return {name for name, spec in ACTIONS.items() if id(spec.function) in seen}


def test_every_action_is_reachable_from_the_control_api() -> None:
    there = reached()
    wanted = {name for name, spec in ACTIONS.items() if spec.permission or spec.anybody}
    ours = {name for name in wanted if ACTIONS[name].function.__module__.startswith(OURS)}
    assert len(ours) > 80
    assert ours - there - set(ELSEWHERE) == set()


def test_no_exception_is_stale() -> None:
    assert set(ELSEWHERE) <= set(ACTIONS)
    assert set(ELSEWHERE) & reached() == set()
