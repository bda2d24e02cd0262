"""A change of something that moved meanwhile is refused, whatever it is: every operation that takes a revision."""

from __future__ import annotations

import re

from tests.builders.http import with_session
from tests.unit.control.api.test_document import described
from tests.unit.control.api.test_tenancy import BODIES, theirs

from headwater.control.audit.models import AuditEvent
from headwater.control.orgs.models import Environment

__all__ = ["theirs"]
STALE = 987_654


def test_whoever_saw_another_revision_changes_nothing(environment: Environment, theirs: dict[str, str]) -> None:
    api = with_session(environment)
    events = AuditEvent.objects.count()
    wrong, walked = [], 0
    for method, template, operation in described():
        if "If-Match" not in {item["name"] for item in operation["parameters"]}:
            continue
        path = re.sub(r"\{(\w+)\}", lambda match: theirs[match[1]], template)
        body = BODIES.get(f"{method} {template}", {})
        ways = [(body, {"If-Match": f'"{STALE}"'})]
        if "requestBody" in operation:
            ways.append((body | {"revision": STALE}, {}))
        for sent, headers in ways:
            walked += 1
            answer = api(method, path, sent, **headers)
            if (answer.status, answer.body["code"]) != (409, "conflict") or str(STALE) not in answer.body["detail"]:
                wrong.append(f"{method} {template} {headers or sent}: {answer.status} {answer.body}")
    assert wrong == []
    assert walked > 70
    assert AuditEvent.objects.count() == events
