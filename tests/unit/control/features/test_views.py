"""Feature views in the control plane: planned, published, archived, and in the snapshot."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection
from tests.builders.control import make_member, newest_snapshot
from tests.builders.projects import resources

from headwater.control.access.queries import actor_for_user
from headwater.control.audit.models import AuditEvent
from headwater.control.catalog.apply import apply_project, plan_project
from headwater.control.catalog.payload import Outcome, ResourceFile, Resources
from headwater.control.features.actions import archive_view
from headwater.control.features.models import FeatureView, FeatureViewRevision
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

DATASET = """\
apiVersion: v3.1.0
kind: DataContract
id: departures
name: departures
version: {version}
status: active
schema:
  - name: departures
    properties:
      - {{name: origin, logicalType: string, required: true}}
      - {{name: at, logicalType: timestamp, required: true}}
      - {{name: {column}, logicalType: number}}
"""
VIEW = """\
description: How late departures were
dataset: departures
entities: [origin]
event_time: at
features:
  - {name: mean_delay, aggregate: mean, column: delay, window: 3h}
freshness: 6h
"""


def project(view: str | None = VIEW, *, version: str = "1.0.0", column: str = "delay") -> Resources:
    files = (ResourceFile(source="features/recent.yaml", text=view),) if view is not None else ()
    datasets = resources({"datasets/departures.yaml": DATASET.format(version=version, column=column)})
    return datasets.model_copy(update={"features": files})


def about_view(outcome: Outcome) -> tuple[str, str]:
    change = next(change for change in outcome.changes if change.kind == "features")
    return change.action, "; ".join(change.details)


def test_a_view_is_planned_applied_and_published(environment: Environment, owner: Actor) -> None:
    planned = plan_project(actor=owner, environment=environment, resources=project())
    assert about_view(planned) == ("create", "revision 1; 1 features of departures")
    assert not FeatureView.objects.for_org(environment.org_id).exists()
    apply_project(actor=owner, environment=environment, resources=project())
    view = newest_snapshot(environment).features["recent"]
    assert (view.revision, view.dataset, view.entities, view.entity_types) == (
        1,
        "departures",
        ("origin",),
        ("string",),
    )
    assert (view.freshness_seconds, view.features[0].window_seconds) == (21_600, 10_800)
    row = FeatureView.objects.for_org(environment.org_id).get(environment=environment, name="recent")
    assert row.dataset.name == "departures"
    assert AuditEvent.objects.filter(action="features.view.published").count() == 1


def test_applying_the_same_again_changes_nothing(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project())
    outcome = apply_project(actor=owner, environment=environment, resources=project())
    assert about_view(outcome) == ("unchanged", "")
    assert FeatureViewRevision.objects.for_org(environment.org_id).count() == 1


@pytest.mark.parametrize(
    ("old", "new", "details"),
    [
        ("freshness: 6h", "freshness: 12h", "revision 2; freshness_seconds: 21600 → 43200"),
        ("window: 3h", "window: 1d", "revision 2; feature mean_delay changed; its online state is built anew"),
        ("How late", "How very late", "revision 2; its description changed"),
    ],
)
def test_a_change_says_what_it_is(environment: Environment, owner: Actor, old: str, new: str, details: str) -> None:
    apply_project(actor=owner, environment=environment, resources=project())
    changed = apply_project(actor=owner, environment=environment, resources=project(VIEW.replace(old, new)))
    action, said = about_view(changed)
    assert action == "update"
    assert said.startswith(details)
    assert newest_snapshot(environment).features["recent"].revision == 2


def test_what_does_not_fit_the_dataset_is_refused_with_file_line_and_cure(
    environment: Environment, owner: Actor
) -> None:
    wrong = VIEW.replace("column: delay", "column: dely")
    with pytest.raises(HeadwaterError) as caught:
        apply_project(actor=owner, environment=environment, resources=project(wrong))
    (error,) = caught.value.extra["errors"]
    assert error["source"] == "features/recent.yaml"
    assert "features[0].column" in error["path"]
    assert "line 6" in error["path"]
    assert "no field 'dely'" in error["message"]
    assert "delay" in error["message"]


def test_a_view_of_no_dataset_is_refused(environment: Environment, owner: Actor) -> None:
    wrong = VIEW.replace("dataset: departures", "dataset: arrivals")
    with pytest.raises(HeadwaterError) as caught:
        apply_project(actor=owner, environment=environment, resources=project(wrong))
    assert "there is no dataset 'arrivals'; there are: departures" in caught.value.extra["errors"][0]["message"]


def test_a_contract_that_breaks_a_view_outside_the_directory_is_refused(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project())
    breaking = project(None, version="2.0.0", column="lateness")
    with pytest.raises(HeadwaterError) as caught:
        apply_project(actor=owner, environment=environment, resources=breaking)
    assert caught.value.extra["errors"][0]["source"] == "feature view recent (not in the directory)"


def test_an_archived_view_leaves_the_snapshot_and_comes_back(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project())
    view = FeatureView.objects.for_org(environment.org_id).get(name="recent")
    archive_view(actor=owner, view=view, reason="unused")
    assert "recent" not in newest_snapshot(environment).features
    outcome = apply_project(actor=owner, environment=environment, resources=project())
    assert about_view(outcome) == ("update", "is served again")
    assert "recent" in newest_snapshot(environment).features


def test_revisions_are_sealed(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project())
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("UPDATE features_featureviewrevision SET source = ''")


def test_who_may_not_write_features_may_not_archive_one(environment: Environment, owner: Actor) -> None:
    apply_project(actor=owner, environment=environment, resources=project())
    analyst = actor_for_user(make_member(environment.org, "analyst").user)
    view = FeatureView.objects.for_org(environment.org_id).get(name="recent")
    with pytest.raises(HeadwaterError, match=r"lacks feature\.write"):
        archive_view(actor=analyst, view=view)
