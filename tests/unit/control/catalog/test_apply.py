"""Applying project directories: all or nothing, idempotent, every error at once."""

from __future__ import annotations

import pytest
from tests.builders.control import events, make_member, newest_snapshot
from tests.builders.onnx_models import linear
from tests.builders.projects import DELAY_MODEL, WORST, flights, resources, small_project

from headwater.contracts.spec import contract_to_spec
from headwater.control import configuration
from headwater.control.access.queries import actor_for_user
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog import project
from headwater.control.catalog.actions import archive_dataset, archive_endpoint
from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.models import ContractVersion, Dataset, Endpoint, EndpointRevision
from headwater.control.catalog.payload import Outcome, Resources
from headwater.control.kit.actions import Actor
from headwater.control.orgs.actions import change_protection
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Deployment, ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.engines.blobs import open_blobs

TAG = "      - name: tag\n        logicalType: string\n"


def verbs(outcome: Outcome) -> dict[str, str]:
    return {change.name: change.action for change in outcome.changes}


def details(outcome: Outcome, name: str) -> str:
    return "; ".join(next(change.details for change in outcome.changes if change.name == name))


def refused(owner: Actor, environment: Environment, project: Resources) -> list[dict[str, str]]:
    with pytest.raises(HeadwaterError) as caught:
        apply_project(actor=owner, environment=environment, resources=project)
    assert caught.value.code == "project_invalid"
    found: list[dict[str, str]] = caught.value.extra["errors"]
    return found


def put_artifact(content: bytes) -> str:
    return open_blobs(configuration.current()).put(content)


def test_a_project_is_applied_and_published(environment: Environment, owner: Actor) -> None:
    outcome = apply_project(actor=owner, environment=environment, resources=small_project())
    assert verbs(outcome) == {"flights": "create", "worst": "create"}
    snapshot = newest_snapshot(environment)
    assert outcome.snapshot == snapshot.number
    dataset = snapshot.datasets["flights"]
    assert (dataset.active_version, list(dataset.contracts)) == ("1.0.0", ["1.0.0"])
    endpoint = snapshot.endpoints["worst"]
    assert (endpoint.revision, endpoint.tables) == (1, ("flights",))
    assert [parameter.name for parameter in endpoint.parameters] == ["carrier"]


def test_a_new_endpoint_says_what_it_answers(environment: Environment, owner: Actor) -> None:
    outcome = plan_project(actor=owner, environment=environment, resources=small_project())
    assert "answers carrier VARCHAR, worst DOUBLE" in details(outcome, "worst")


def test_planning_changes_nothing(environment: Environment, owner: Actor) -> None:
    rows = AuditEvent.objects.count()
    outcome = plan_project(actor=owner, environment=environment, resources=small_project())
    assert outcome.dry_run
    assert verbs(outcome) == {"flights": "create", "worst": "create"}
    assert AuditEvent.objects.count() == rows
    assert not Dataset.objects.for_org(environment.org).exists()


def test_applying_again_changes_nothing_and_leaves_no_audit_row(environment: Environment, owner: Actor) -> None:
    first = apply_project(actor=owner, environment=environment, resources=small_project())
    rows = AuditEvent.objects.count()
    second = apply_project(actor=owner, environment=environment, resources=small_project())
    assert verbs(second) == {"flights": "unchanged", "worst": "unchanged"}
    assert second.snapshot == first.snapshot
    assert AuditEvent.objects.count() == rows


def test_every_change_of_an_apply_is_audited_in_one_group(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    made = [event for event in events(environment.org) if event.action.startswith("catalog.")]
    assert [event.action for event in made] == [
        "catalog.dataset.created",
        "catalog.contract.drafted",
        "catalog.contract.activated",
        "catalog.endpoint.published",
        "catalog.project.applied",
    ]
    assert {event.actor_label for event in made} == {owner.label}
    assert len({event.group_id for event in made}) == 1


def test_all_errors_of_all_files_come_at_once_and_nothing_is_kept(environment: Environment, owner: Actor) -> None:
    project = resources(
        {"datasets/flights.yaml": flights(), "datasets/broken.yaml": "a: [", "datasets/twice.yaml": flights()},
        {"endpoints/none.sql": WORST.replace("flights", "planes"), "endpoints/bad.sql": "SELECT 1"},
    )
    errors = refused(owner, environment, project)
    assert {error["source"] for error in errors} == {
        "datasets/broken.yaml",
        "datasets/twice.yaml",
        "endpoints/none.sql",
        "endpoints/bad.sql",
    }
    assert any("there is no dataset 'planes'; there are: flights" in error["message"] for error in errors)
    assert any("already declared by datasets/flights.yaml" in error["message"] for error in errors)
    assert not Dataset.objects.for_org(environment.org).exists()


def test_an_endpoint_that_reads_a_missing_column_is_refused(environment: Environment, owner: Actor) -> None:
    project = resources({"datasets/flights.yaml": flights()}, {"endpoints/worst.sql": WORST.replace("delay", "dely")})
    (error,) = refused(owner, environment, project)
    assert error["source"] == "endpoints/worst.sql"
    assert "dely" in error["message"]


def test_another_content_under_the_same_version_is_refused_with_the_cure(
    environment: Environment, owner: Actor
) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    (error,) = refused(owner, environment, resources({"datasets/flights.yaml": flights(more=TAG)}))
    assert (error["source"], error["path"]) == ("datasets/flights.yaml", "version")
    assert "tag: added" in error["message"]
    assert "raise `version`" in error["message"]


def test_a_new_version_becomes_active_and_the_old_one_stays_usable(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    newer = resources({"datasets/flights.yaml": flights("1.1.0", more=TAG)})
    outcome = apply_project(actor=owner, environment=environment, resources=newer)
    assert verbs(outcome) == {"flights": "update", "worst": "unchanged"}
    assert "1.0.0 -> 1.1.0; tag: added" in details(outcome, "flights")
    dataset = newest_snapshot(environment).datasets["flights"]
    assert dataset.active_version == "1.1.0"
    assert sorted(dataset.contracts) == ["1.0.0", "1.1.0"]
    states = ContractVersion.objects.for_org(environment.org).order_by("number").values_list("number", "state")
    assert list(states) == [(1, "deprecated"), (2, "active")]


def test_going_back_to_an_older_version_activates_it_again(environment: Environment, owner: Actor) -> None:
    *_, outcome = [
        apply_project(actor=owner, environment=environment, resources=resources({"datasets/flights.yaml": text}))
        for text in (flights(), flights("1.1.0", more=TAG), flights())
    ]
    assert "1.1.0 -> 1.0.0; tag: removed" in details(outcome, "flights")
    assert newest_snapshot(environment).datasets["flights"].active_version == "1.0.0"
    assert ContractVersion.objects.for_org(environment.org).count() == 2


def test_a_new_version_must_be_higher_than_all_before(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=resources({"d": flights("1.10.0")}))
    (error,) = refused(owner, environment, resources({"d": flights("1.9.0")}))
    assert "older than 1.10.0" in error["message"]


def test_a_breaking_change_needs_a_new_major_version(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    gate = "      - name: gate\n        logicalType: string\n        required: true\n"
    (error,) = refused(owner, environment, resources({"datasets/flights.yaml": flights("1.1.0", more=gate)}))
    assert "gate" in error["message"]
    assert "2.0.0" in error["message"]
    apply_project(actor=owner, environment=environment, resources=resources({"d": flights("2.0.0", more=gate)}))


@pytest.mark.parametrize("version", ["1.1.0", "2.0.0"])
def test_a_column_keeps_its_type_whatever_the_version(environment: Environment, owner: Actor, version: str) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    (error,) = refused(owner, environment, resources({"datasets/flights.yaml": flights(version, delay="string")}))
    assert "'delay'" in error["message"]
    assert "_v2" in error["message"]


def test_a_contract_that_breaks_an_endpoint_is_refused_even_if_the_directory_lacks_the_endpoint(
    environment: Environment, owner: Actor
) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    without = resources({"datasets/flights.yaml": flights("2.0.0").replace("name: delay", "name: lateness")})
    (error,) = refused(owner, environment, without)
    assert error["source"] == "endpoint worst (not in the directory)"
    assert "delay" in error["message"]


def test_what_vanished_from_the_directory_is_left_alone_and_mentioned(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    outcome = apply_project(actor=owner, environment=environment, resources=Resources())
    assert verbs(outcome) == {"flights": "unchanged", "worst": "unchanged"}
    assert "left alone" in details(outcome, "flights")
    assert set(newest_snapshot(environment).datasets) == {"flights"}


def test_what_was_archived_comes_back_when_it_is_applied(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    archive_dataset(actor=owner, dataset=Dataset.objects.for_org(environment.org).get())
    archive_endpoint(actor=owner, endpoint=Endpoint.objects.for_org(environment.org).get())
    snapshot = newest_snapshot(environment)
    assert snapshot.datasets["flights"].archived
    assert snapshot.endpoints == {}
    outcome = apply_project(actor=owner, environment=environment, resources=small_project())
    assert verbs(outcome) == {"flights": "update", "worst": "update"}
    snapshot = newest_snapshot(environment)
    assert not snapshot.datasets["flights"].archived
    assert snapshot.endpoints["worst"].revision == 1


def test_a_changed_endpoint_is_a_new_revision(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=small_project())
    changed = resources(
        {"datasets/flights.yaml": flights()}, {"endpoints/worst.sql": WORST.replace("max(delay)", "max(delay) + 0")}
    )
    outcome = apply_project(actor=owner, environment=environment, resources=changed)
    assert "revision 2; sql changed" in details(outcome, "worst")
    numbers = EndpointRevision.objects.for_org(environment.org).order_by("number").values_list("number", flat=True)
    assert list(numbers) == [1, 2]


def test_a_release_that_writes_specs_otherwise_finds_its_contracts_unchanged(
    environment: Environment, owner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = resources({"datasets/flights.yaml": flights()})
    apply_project(actor=owner, environment=environment, resources=files)
    monkeypatch.setattr(project, "contract_to_spec", lambda contract: contract_to_spec(contract) | {"since": "later"})
    assert verbs(apply_project(actor=owner, environment=environment, resources=files)) == {"flights": "unchanged"}


@pytest.mark.parametrize("name", ["predictions_x", "prediction_outcomes", "batch_predictions_x"])
def test_reserved_names_are_refused(environment: Environment, owner: Actor, name: str) -> None:
    text = flights().replace("flights", name)
    (error,) = refused(owner, environment, resources({f"datasets/{name}.yaml": text}))
    assert "reserved" in error["message"]


def test_without_the_permission_nothing_is_planned_or_applied(environment: Environment) -> None:
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    for act in (plan_project, apply_project):
        with pytest.raises(HeadwaterError) as caught:
            act(actor=analyst, environment=environment, resources=small_project())
        assert caught.value.code == "forbidden"


def test_a_model_is_registered_once_and_takes_all_traffic(environment: Environment, owner: Actor) -> None:
    project = resources(models={"models/delay/model.yaml": (DELAY_MODEL, put_artifact(linear([1.0, 2.0])))})
    assert verbs(apply_project(actor=owner, environment=environment, resources=project)) == {"delay": "create"}
    assert verbs(apply_project(actor=owner, environment=environment, resources=project)) == {"delay": "unchanged"}
    model = newest_snapshot(environment).models["delay"]
    assert [(route.version, route.role, route.weight_bps) for route in model.routes] == [(1, "primary", 10_000)]
    assert [output.name for output in model.versions[1].outputs] == ["score"]


def test_another_artifact_is_another_version(environment: Environment, owner: Actor) -> None:
    *_, outcome = [
        apply_project(
            actor=owner,
            environment=environment,
            resources=resources(models={"m": (DELAY_MODEL, put_artifact(linear(weights)))}),
        )
        for weights in ([1.0, 2.0], [3.0, 4.0])
    ]
    assert "version 2" in details(outcome, "delay")
    assert list(newest_snapshot(environment).models["delay"].versions) == [2]
    assert ModelVersion.objects.for_org(environment.org).count() == 2


def test_a_protected_environment_serves_no_version_that_nobody_approved(environment: Environment, owner: Actor) -> None:
    change_protection(actor=owner, environment=environment, protected=True)
    project = resources(models={"m": (DELAY_MODEL, put_artifact(linear([1.0, 2.0])))})
    outcome = apply_project(actor=owner, environment=environment, resources=project)
    assert "to be approved and promoted" in details(outcome, "delay")
    assert not Deployment.objects.for_org(environment.org).exists()
    assert verbs(apply_project(actor=owner, environment=environment, resources=project)) == {"delay": "unchanged"}


def test_an_artifact_that_is_missing_or_does_not_fit_is_refused(environment: Environment, owner: Actor) -> None:
    (missing,) = refused(owner, environment, resources(models={"m": (DELAY_MODEL, "0" * 64)}))
    assert "comes first" in missing["message"]
    (misfit,) = refused(owner, environment, resources(models={"m": (DELAY_MODEL, put_artifact(linear([1.0])))}))
    assert misfit["source"] == "m"


def test_a_version_that_cannot_be_logged_beside_the_last_is_refused(environment: Environment, owner: Actor) -> None:
    artifact = put_artifact(linear([1.0, 2.0]))
    apply_project(actor=owner, environment=environment, resources=resources(models={"m": (DELAY_MODEL, artifact)}))
    other = DELAY_MODEL.replace("name: hour, logicalType: number", "name: hour, logicalType: boolean")
    (error,) = refused(owner, environment, resources(models={"m": (other, artifact)}))
    assert "input_hour" in error["message"]


def test_an_endpoint_may_read_a_prediction_log_and_outcomes(environment: Environment, owner: Actor) -> None:
    sql = (
        "/* description: scores */ SELECT avg(abs(p.output_score - o.outcome_number)) AS error "
        "FROM predictions_delay p JOIN prediction_outcomes o USING (prediction_id)"
    )
    project = resources(
        endpoints={"endpoints/scores.sql": sql}, models={"m": (DELAY_MODEL, put_artifact(linear([1.0, 2.0])))}
    )
    assert verbs(apply_project(actor=owner, environment=environment, resources=project))["scores"] == "create"


def test_an_endpoint_may_read_batch_predictions(environment: Environment, owner: Actor) -> None:
    sql = "/* description: x */ SELECT source, count(source_seq) AS rows FROM batch_predictions_delay GROUP BY source"
    project = resources(
        endpoints={"endpoints/scored.sql": sql}, models={"m": (DELAY_MODEL, put_artifact(linear([1.0, 2.0])))}
    )
    assert verbs(apply_project(actor=owner, environment=environment, resources=project))["scored"] == "create"


def test_quarantined_rows_are_no_table(environment: Environment, owner: Actor) -> None:
    sql = "/* description: x */ SELECT * FROM _hw_quarantine"
    (error,) = refused(owner, environment, resources(endpoints={"endpoints/q.sql": sql}))
    assert error["source"] == "endpoints/q.sql"
