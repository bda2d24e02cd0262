"""The console's review pages, without a browser."""

from __future__ import annotations

import pytest
from django.test import Client
from tests.builders.control import make_environment, make_member
from tests.builders.reviews import ROWS, FakePlane, kept_row, make_queue, make_tasks

from headwater.control.orgs.models import Environment
from headwater.control.reviews.models import ReviewTask
from headwater.control.reviews.queries import WAITING


def signed_in(environment: Environment, role: str = "operator") -> Client:
    client = Client()
    client.force_login(
        make_member(environment.org, role).user, backend="allauth.account.auth_backends.AuthenticationBackend"
    )
    return client


@pytest.fixture
def client(environment: Environment) -> Client:
    return signed_in(environment)


BASE = "/o/acme/air/dev/review/"


def test_queues_are_listed_with_what_waits(environment: Environment, client: Client) -> None:
    assert "No review queues yet" in client.get(BASE).content.decode()
    make_tasks(make_queue(environment), environment, 3)
    text = client.get(BASE).content.decode()
    assert "Uncertain delays" in text
    assert client.get(f"{BASE}queues/uncertain/").status_code == 200


def test_one_task_after_the_other_is_decided(environment: Environment, client: Client) -> None:
    make_tasks(make_queue(environment), environment, 2)
    first = client.post(f"{BASE}queues/uncertain/next/")
    assert first.status_code == 302
    page = client.get(first["Location"])
    assert "Your decision" in page.content.decode()
    wrong = client.post(f"{first['Location']}decide/", {"verdict": "label"}, headers={"HX-Request": "true"})
    assert wrong.status_code == 200
    assert "answers: late" in wrong.content.decode().lower()
    done = client.post(
        f"{first['Location']}decide/", {"verdict": "label", "answer-late": "true"}, headers={"HX-Request": "true"}
    )
    assert done.status_code == 204
    assert "review/tasks/rt_" in done["HX-Location"]
    second = ReviewTask.objects.for_org(environment.org).get(state="claimed")
    assert second.public_id in done["HX-Location"]
    last = client.post(f"{BASE}tasks/{second.public_id}/decide/", {"verdict": "confirm", "answer-late": "false"})
    assert last["Location"] == f"{BASE}queues/uncertain/"
    assert "Over" in client.get(f"{BASE}queues/uncertain/?show=over").content.decode()
    assert not ReviewTask.objects.for_org(environment.org).filter(state__in=WAITING).exists()


def test_a_task_is_given_back_and_a_lease_renewed(environment: Environment, client: Client) -> None:
    (task,) = make_tasks(make_queue(environment), environment)
    path = f"{BASE}tasks/{task.public_id}/"
    assert client.post(f"{path}claim/").status_code == 302
    assert "lease_expires_at" in client.post(f"{path}renew/").json()
    client.post(f"{path}release/")
    task.refresh_from_db()
    assert task.state == "open"
    assert client.post(f"{path}renew/").status_code == 409


def test_a_row_is_corrected_on_the_page(environment: Environment, client: Client, owner: object) -> None:
    from tests.builders.projects import small_project

    from headwater.control.catalog.apply import apply_project
    from headwater.control.reviews.feeding import feed

    apply_project(actor=owner, environment=environment, resources=small_project())  # type: ignore[arg-type]
    queue = make_queue(environment, ROWS % "flights", key="rows")
    row = kept_row(errors=({"code": "out_of_range", "path": "/wind_speed", "message": "is too large"},))
    feed(FakePlane(rows=[row]), queue, environment)  # type: ignore[arg-type]
    task = ReviewTask.objects.for_org(environment.org).get()
    path = f"{BASE}tasks/{task.public_id}/"
    client.post(f"{path}claim/")
    text = client.get(path).content.decode()
    assert "&quot;wind_speed&quot;: 1048" in text
    bad = client.post(f"{path}decide/", {"verdict": "correct", "changes": "{"}, headers={"HX-Request": "true"})
    assert "not JSON" in bad.content.decode()
    client.post(f"{path}decide/", {"verdict": "correct", "changes": '{"wind_speed": 10}'})
    task.refresh_from_db()
    assert (task.state, task.decisions.get().changes) == ("decided", {"wind_speed": 10})


def test_markup_in_payloads_is_text(environment: Environment, client: Client) -> None:
    nasty = "<script>alert(1)</script>"
    make_tasks(
        make_queue(environment), environment, title=nasty, payload={"outputs": {nasty: nasty}, "inputs": {"a": nasty}}
    )
    (task,) = ReviewTask.objects.for_org(environment.org)
    for path in (f"{BASE}queues/uncertain/", f"{BASE}tasks/{task.public_id}/"):
        assert nasty not in client.get(path).content.decode()


def test_others_see_no_queue_and_no_task(environment: Environment) -> None:
    (task,) = make_tasks(make_queue(environment), environment)
    other = make_environment("globex")
    stranger = signed_in(other, "owner")
    for path in (BASE, f"{BASE}queues/uncertain/", f"{BASE}tasks/{task.public_id}/"):
        assert stranger.get(path).status_code == 404
        assert stranger.get(path.replace("acme", "globex")).status_code in (200, 404)
    assert stranger.get(f"/o/globex/air/dev/review/tasks/{task.public_id}/").status_code == 404
    reader = signed_in(environment, "analyst")
    assert reader.get(BASE).status_code == 403
    assert reader.post(f"{BASE}queues/uncertain/next/").status_code == 403


def test_garbage_in_addresses_is_nothing(environment: Environment, client: Client) -> None:
    make_queue(environment)
    for path in ("tasks/rt_1/", "tasks/x/", "queues/none/", "queues/uncertain/?after=zzz"):
        assert client.get(BASE + path).status_code == 404


def test_pages_need_few_queries(
    environment: Environment, client: Client, django_assert_max_num_queries: object
) -> None:
    make_tasks(make_queue(environment), environment, 60)
    with django_assert_max_num_queries(25):  # type: ignore[operator]
        client.get(BASE)
    with django_assert_max_num_queries(25):  # type: ignore[operator]
        client.get(f"{BASE}queues/uncertain/")
