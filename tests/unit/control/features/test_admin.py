"""The pages of feature views in the admin."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from tests.builders.control import make_user, newest_snapshot
from tests.unit.control.features.test_views import VIEW, project

from headwater.control.catalog.apply import apply_project
from headwater.control.features.models import FeatureView
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def operator(environment: Environment) -> Client:
    client = Client()
    client.force_login(make_user("root@example.com", is_admin=True))
    return client


@pytest.fixture
def view(environment: Environment, owner: Actor) -> FeatureView:
    text = VIEW.replace("How late departures were", f"{EVIL}") + "  \n"
    apply_project(actor=owner, environment=environment, resources=project(text))
    apply_project(actor=owner, environment=environment, resources=project(text.replace("6h", "12h")))
    found: FeatureView = FeatureView.objects.for_org(environment.org_id).get(name="recent")
    return found


def test_the_page_of_a_view_shows_what_it_computes_from_what_escaped(operator: Client, view: FeatureView) -> None:
    listed = operator.get(reverse("admin:features_featureview_changelist")).content.decode()
    assert "recent" in listed
    page = operator.get(reverse("admin:features_featureview_change", args=[view.pk])).content.decode()
    assert "mean of delay over 3h" in page
    assert "/v1/features/recent/read" in page
    assert reverse("admin:catalog_dataset_change", args=[view.dataset_id]) in page
    assert "12h" in page
    assert EVIL not in page
    older = operator.get(reverse("admin:features_featureview_change", args=[view.pk]) + "?revision=1").content.decode()
    assert "<dd>6h</dd>" in older


def test_a_view_is_archived_from_the_admin(operator: Client, view: FeatureView) -> None:
    answer = operator.post(reverse("admin:features_featureview_archive", args=[view.pk]), {"reason": "unused"})
    assert answer.status_code == 302
    assert "recent" not in newest_snapshot(view.environment).features
    page = operator.get(reverse("admin:features_featureview_change", args=[view.pk])).content.decode()
    assert "archived" in page


def test_the_control_api_shows_views_and_revisions(environment: Environment, view: FeatureView) -> None:
    from tests.builders.http import with_session

    api = with_session(environment)
    path = f"/organizations/{environment.org.slug}/projects/{environment.project.slug}/environments/{environment.key}"
    (listed,) = api.get(f"{path}/features").body["items"]
    assert (listed["name"], listed["dataset"]) == ("recent", "departures")
    assert api.get(f"{path}/features/recent").body == listed
    revisions = api.get(f"{path}/features/recent/revisions").body["items"]
    assert [revision["number"] for revision in revisions] == [2, 1]
    assert revisions[0]["spec"]["freshness_seconds"] == 43_200
    assert api.get(f"{path}/features/nothing").status == 404
    assert api.post(f"{path}/features/recent/archive", {}).body["archived_at"] is not None
    assert view.name == "recent"
