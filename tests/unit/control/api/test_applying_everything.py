"""A project directory with every kind of resource is applied in one call: foretold, all or nothing, and once."""

from __future__ import annotations

from typing import Any, Final, get_args

import pytest
from django.test import Client
from tests.builders.control import make_member, newest_snapshot
from tests.builders.http import Api, with_session
from tests.builders.onnx_models import linear
from tests.builders.projects import DELAY_MODEL, RECENT, WORST, flights

from headwater.control import configuration
from headwater.control.access.actions import grant
from headwater.control.access.roles import create_role
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.payload import Kind, Resources
from headwater.control.kit.actions import SYSTEM
from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment
from headwater.engines.blobs import open_blobs

TIMED: Final = "      - name: at\n        logicalType: timestamp\n"
FLAG: Final = "owner: data-team\nkind: permanent\nrules: [{{when: \"carrier = 'AA'\", variant: on, share: {share}%}}]\n"
QUEUE: Final = "title: Refused rows\nsource: quarantine\ndataset: flights\nsla: {hours}h\n"
POLICY: Final = "dataset: flights\npriority: {priority}\nprincipals: [everyone]\npurpose: a test\n"
BOARD: Final = "title: {title}\ntiles: [{{name: worst, kind: number, endpoint: worst, value: worst}}]\n"


def directory(*, step: int = 0, broken: bool = False) -> dict[str, Any]:
    """Return every kind of resource; another ``step`` changes each of them."""
    artifact = linear([1.0, 2.0 + step])
    return {
        "datasets": [{"source": "datasets/flights.yaml", "text": flights(f"1.{step}.0", more=TIMED)}],
        "endpoints": [{"source": "endpoints/worst.sql", "text": WORST.replace("max(delay)", f"max(delay) + {step}")}],
        "features": [{"source": "features/recent.yaml", "text": RECENT + f"description: at step {step}\n"}],
        "flags": [{"source": "flags/new-home.yaml", "text": FLAG.format(share=10 + step)}],
        "models": [
            {
                "source": "models/delay/model.yaml",
                "text": DELAY_MODEL,
                "artifact_sha256": open_blobs(configuration.current()).put(artifact),
            }
        ],
        "reviews": [{"source": "reviews/refused.yaml", "text": QUEUE.format(hours=4 + step)}],
        "dashboards": [{"source": "dashboards/delays.yaml", "text": BOARD.format(title=f"At step {step}")}],
        "policies": [{"source": "policies/open.yaml", "text": POLICY.format(priority="many" if broken else 10 + step)}],
    }


def rows() -> dict[str, int]:
    """Return how many rows every table of a tenant has."""
    return {kind.__name__: kind.unscoped.count() for kind in TenantEntity.__subclasses__()}


def apply(api: Api, environment: Environment, resources: dict[str, Any], *, dry_run: bool = False) -> Any:
    body = {"project": environment.project.slug, "environment": environment.key, "resources": resources}
    return api.post("/apply", body | {"dry_run": dry_run})


@pytest.fixture
def api(environment: Environment) -> Api:
    return with_session(environment)


def test_what_is_foretold_is_what_is_done_and_then_there_is_nothing_to_do(api: Api, environment: Environment) -> None:
    assert set(directory()) == set(Resources.model_fields)
    for step, verb in ((0, "create"), (1, "update"), (2, "update")):
        before, events = rows(), AuditEvent.objects.count()
        foretold = apply(api, environment, directory(step=step), dry_run=True)
        assert foretold.status == 200, foretold.body
        assert (rows(), AuditEvent.objects.count()) == (before, events), "a dry run changes nothing"
        done = apply(api, environment, directory(step=step))
        assert done.status == 200, done.body
        assert done.body["changes"] == foretold.body["changes"]
        changes = {change["kind"]: change for change in done.body["changes"]}
        assert set(changes) == set(get_args(Kind))
        assert {kind: change["action"] for kind, change in changes.items()} == dict.fromkeys(changes, verb)
        assert [kind for kind, change in changes.items() if not change["details"]] == [], "each says what changes"
        published = newest_snapshot(environment).number
        assert done.body["snapshot"] == published
        after, events = rows(), AuditEvent.objects.count()
        again = apply(api, environment, directory(step=step))
        assert {change["action"] for change in again.body["changes"]} == {"unchanged"}
        assert (rows(), AuditEvent.objects.count()) == (after, events), "applied again, it changes nothing"
        assert newest_snapshot(environment).number == published


def test_a_file_of_the_last_kind_that_cannot_be_read_leaves_nothing_of_the_others(
    api: Api, environment: Environment
) -> None:
    before, events, number = rows(), AuditEvent.objects.count(), newest_snapshot(environment).number
    answer = apply(api, environment, directory(broken=True))
    assert (answer.status, answer.body["code"]) == (422, "project_invalid")
    assert {error["source"] for error in answer.body["errors"]} == {"policies/open.yaml"}
    assert (rows(), AuditEvent.objects.count(), newest_snapshot(environment).number) == (before, events, number)


def test_a_step_of_the_last_kind_that_fails_takes_the_others_back(environment: Environment) -> None:
    kinds = ("dataset", "endpoint", "feature", "flag", "model", "review")
    permissions = ["project.apply", *(f"{kind}.write" for kind in kinds)]
    nearly = create_role(actor=SYSTEM, org=environment.org, name="nearly", permissions=permissions)
    member = make_member(environment.org, "analyst")
    grant(actor=SYSTEM, scope=environment.org, role=nearly, membership=member)
    client = Client()
    client.force_login(member.user)
    before, events, number = rows(), AuditEvent.objects.count(), newest_snapshot(environment).number
    answer = apply(Api(client), environment, directory())
    # Policies are written last, and those this member may not write.
    assert (answer.status, answer.body["code"]) == (403, "forbidden")
    assert "policy.write" in answer.body["detail"]
    assert (rows(), AuditEvent.objects.count(), newest_snapshot(environment).number) == (before, events, number)
