"""Asks the control database who may do what, as the owner of the home may."""

from __future__ import annotations

from typing import Any

from headwater.control.bootstrap import prepare
from headwater.core.settings import Settings


def ask(settings: Settings, principal: str, permission: str, resource: str, address: str | None) -> dict[str, Any]:
    """Return the answer about the target environment, as the control API gives it.

    Raises:
        HeadwaterError: ``not_found`` for somebody who is not there, ``invalid_parameter``.
    """
    prepare(settings)
    from headwater.control.access.queries import get_environment  # noqa: PLC0415
    from headwater.control.api.access_schemas import ExplainOut  # noqa: PLC0415
    from headwater.control.policies.explain import Question, explain, find_who  # noqa: PLC0415 - models need Django

    target = settings.target
    environment = get_environment(target.organization, target.project, target.environment)
    question = Question(find_who(environment, principal), permission, environment, resource, address)
    return ExplainOut.show(question, explain(question)).model_dump(mode="json")
