"""What queries cost, in the console and the API."""

from __future__ import annotations

from tests.builders.console import signed_in
from tests.builders.control import make_member
from tests.builders.http import with_session
from tests.fakes.data_plane import FakeServices, no_services, query_report, services

from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment

__all__ = ["no_services", "services"]

PAGE = "/o/acme/air/dev/queries/"


def test_the_page_shows_what_took_most_time_and_escapes_who_asked(
    environment: Environment, owner: Actor, services: FakeServices
) -> None:
    services.queries = query_report()
    text = signed_in(owner.subject).get(PAGE).content.decode()
    assert "daily" in text
    assert "41.5" in text
    assert "90 %" in text
    assert "812.3" in text
    assert "<script>alert(1)" not in text


def test_a_day_is_asked_for_and_nonsense_is_today(
    environment: Environment, owner: Actor, services: FakeServices
) -> None:
    services.queries = query_report()
    client = signed_in(owner.subject)
    client.get(f"{PAGE}?day=2026-01-31")
    client.get(f"{PAGE}?day=yesterday")
    client.get(f"{PAGE}?day=9999-01-01")
    days = [asked["day"][0] for asked in services.asked]
    assert days[0] == "2026-01-31"
    assert days[1] == days[2] != "9999-01-01"


def test_without_services_the_page_says_so(environment: Environment, owner: Actor, no_services: None) -> None:
    assert "The services do not answer" in signed_in(owner.subject).get(PAGE).content.decode()


def test_who_may_not_read_the_audit_log_does_not_see_who_asked_what(
    environment: Environment, services: FakeServices
) -> None:
    services.queries = query_report()
    viewer = make_member(environment.org, "analyst").user
    assert signed_in(viewer).get(PAGE).status_code in (403, 404)
    path = "/organizations/acme/projects/air/environments/dev/queries/slow"
    assert with_session(environment, "analyst").get(path).status == 403
    reply = with_session(environment).get(f"{path}?day=2026-01-31")
    assert reply.status == 200
    assert reply.body["slowest"][0]["total_ms"] == 812.3
