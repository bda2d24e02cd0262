"""Batch jobs are seen, and cancelled, by whoever could have started them; the audit log tells who did."""

from __future__ import annotations

import pytest
from django.test import Client
from tests.builders.console import signed_in
from tests.builders.control import events, make_member
from tests.builders.http import Api, with_key, with_session
from tests.fakes.data_plane import JOB, FakeServices, batch_job, no_services, services

from headwater.control.access.roles import create_role
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment

__all__ = ["no_services", "services"]

HERE = "/o/acme/air/dev/jobs/"
API = "/organizations/acme/projects/air/environments/dev/jobs"


@pytest.fixture
def client(environment: Environment, owner: Actor) -> Client:
    return signed_in(owner.subject)


@pytest.fixture
def api(environment: Environment) -> Api:
    return with_session(environment)


def text(client: Client, path: str = "") -> str:
    return client.get(HERE + path).content.decode()


def test_a_running_job_shows_its_progress_and_keeps_looking(client: Client, services: FakeServices) -> None:
    services.jobs = [batch_job()]
    page = text(client)
    assert '<progress max="1000" value="500"' in page
    assert "20 without an answer" in page
    assert 'hx-trigger="every 5s"' in page
    viewer = services.viewings[-1]["viewer"]
    assert services.viewings[-1]["path"] == "jobs"
    assert "model.invoke:*" in viewer["allowances"]
    services.jobs = [batch_job(state="succeeded", finished_at=batch_job()["created_at"])]
    assert "hx-trigger" not in text(client).partition('id="jobs"')[2].partition(">")[0]


def test_why_a_job_failed_is_read_on_its_page(client: Client, services: FakeServices) -> None:
    error = {"code": "model_failed", "detail": "<b>the model</b> raised", "hint": "look at its log"}
    services.jobs = [batch_job(state="failed", error=error, finished_at=batch_job()["created_at"])]
    page = text(client, f"{JOB}/")
    assert "&lt;b&gt;the model&lt;/b&gt; raised" in page
    assert "Look at its log." in page
    assert "Cancel job" not in page
    assert client.get(f"{HERE}job_01JD0000000000000000000001/").status_code == 404
    assert client.get(f"{HERE}etc-passwd/").status_code == 404


def test_cancelling_is_audited_before_it_happens(
    environment: Environment, client: Client, services: FakeServices
) -> None:
    services.jobs = [batch_job()]
    page = client.post(f"{HERE}{JOB}/cancel/", {"reason": "the wrong dataset"}, follow=True).content.decode()
    assert "The job ends after the rows at hand" in page
    assert services.viewings[-2]["path"] == f"jobs/{JOB}/cancel"
    told = events(environment.org, "catalog.job.cancel_requested")[-1]
    assert (told.target_id, told.target_kind, told.reason) == (JOB, "catalog.job", "the wrong dataset")
    assert told.after == {"requested": "cancel", "model": "delay", "dataset": "flights", "done": "500 of 1000 rows"}


def test_who_may_not_ask_the_model_cancels_nothing(environment: Environment, services: FakeServices) -> None:
    create_role(actor=SYSTEM, org=environment.org, name="reader", permissions=["dataset.read"])
    services.jobs = [batch_job()]  # a data plane that says too much
    reader = signed_in(make_member(environment.org, "reader").user)
    page = reader.post(f"{HERE}{JOB}/cancel/", {"reason": "mine"}, follow=True).content.decode()
    assert "lacks model.invoke" in page
    assert not services.jobs[0]["cancelling"]
    assert events(environment.org, "catalog.job.cancel_requested") == []


def test_the_page_opens_while_the_services_are_away(client: Client, no_services: None) -> None:
    assert "Batch jobs are missing until they do" in text(client)
    assert client.get(f"{HERE}{JOB}/").status_code == 503


def test_jobs_over_the_api(environment: Environment, api: Api, services: FakeServices) -> None:
    services.jobs = [batch_job()]
    listed = api.get(f"{API}?limit=5").body["jobs"]
    assert [(job["job"], job["progress"]) for job in listed] == [(JOB, {"done": 500, "total": 1000})]
    assert services.viewings[-1]["parameters"] == {"limit": "5"}
    assert api.get(f"{API}/{JOB}").body["state"] == "running"
    assert api.get(f"{API}/job_x").body["code"] == "job_not_found"
    assert api.post(f"{API}/{JOB}/cancel", {"reason": "enough"}).body["cancelling"]
    services.jobs = [batch_job(state="succeeded")]
    over = api.post(f"{API}/{JOB}/cancel", {})
    assert (over.status, over.body["code"]) == (409, "conflict")
    key = with_key(environment, "developer")
    key.get(API)
    assert services.viewings[-1]["viewer"]["id"].startswith("key_")
    services.jobs = [{"job": "nonsense"}]
    assert api.get(API).body["code"] == "services_unavailable"
