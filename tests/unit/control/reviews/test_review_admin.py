"""Reviews and overrides in the admin: lists, rows, and bulk actions that leave their trace."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from tests.builders.control import events, make_user
from tests.builders.reviews import make_queue, make_tasks

from headwater.control.orgs.models import Environment
from headwater.control.reviews.models import ReviewQueue, ReviewTask


@pytest.fixture
def client(environment: Environment) -> Client:
    assert environment
    client = Client()
    client.force_login(make_user(is_admin=True), backend="allauth.account.auth_backends.AuthenticationBackend")
    return client


def test_every_list_and_row_opens(environment: Environment, client: Client) -> None:
    (task,) = make_tasks(make_queue(environment), environment)
    for name in ("reviews_reviewqueue", "reviews_reviewtask", "reviews_reviewdecision", "overrides_override"):
        assert client.get(reverse(f"admin:{name}_changelist")).status_code == 200
    assert client.get(reverse("admin:reviews_reviewtask_change", args=[task.pk])).status_code == 200


def test_chosen_rows_are_acted_upon_one_by_one(environment: Environment, client: Client) -> None:
    tasks = make_tasks(make_queue(environment), environment, 2)
    chosen = {"action": "cancel_chosen", "_selected_action": [str(task.pk) for task in tasks]}
    client.post(reverse("admin:reviews_reviewtask_changelist"), chosen)
    assert set(ReviewTask.objects.for_org(environment.org).values_list("state", flat=True)) == {"cancelled"}
    assert len(events(environment.org, "reviews.task.cancelled")) == 2
    queue = ReviewQueue.objects.for_org(environment.org).get()
    for action, archived in (("archive_chosen", True), ("restore_chosen", False)):
        client.post(
            reverse("admin:reviews_reviewqueue_changelist"), {"action": action, "_selected_action": [str(queue.pk)]}
        )
        queue.refresh_from_db()
        assert (queue.archived_at is not None) is archived
