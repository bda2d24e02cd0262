"""A domain that was proved once is looked at again: who gave it up must not decide how its people sign in."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone
from tests.builders.control import events
from tests.builders.http import with_session
from tests.builders.sign_on import make_domain, make_enforced

from headwater.control.access.queries import get_role
from headwater.control.kit.actions import SYSTEM, Actor
from headwater.control.orgs.models import Environment
from headwater.control.sso import actions, dns
from headwater.control.sso.actions import change_joining, claim_domain, recheck_domain, verify_domain
from headwater.control.sso.models import GRACE, Domain
from headwater.control.sso.rules import enforced_provider, verified_domain
from headwater.control.upkeep.tasks import recheck_domains
from headwater.core.errors import HeadwaterError


def gone(_name: str) -> list[str]:
    return ["v=spf1 -all"]


def there(domain: Domain) -> dns.Resolver:
    return lambda _name: [f" {domain.record_value} "]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """Let the actions of domains see a clock that is past the time of grace."""

    class Late:
        @staticmethod
        def now() -> datetime:
            return timezone.now() + GRACE

    monkeypatch.setattr(actions, "timezone", Late)
    return GRACE


def test_while_the_record_is_there_nothing_is_noted(environment: Environment) -> None:
    domain = make_domain(environment.org)
    known = len(events(environment.org))
    checked = domain.checked_at
    recheck_domain(actor=SYSTEM, domain=domain, resolve=there(domain))
    assert len(events(environment.org)) == known
    domain.refresh_from_db()
    assert checked is not None
    assert domain.checked_at is not None
    assert domain.checked_at > checked


def test_a_record_that_is_gone_is_noted_once_and_forgiven(environment: Environment) -> None:
    make_enforced(environment.org)
    domain = Domain.objects.for_org(environment.org).get()
    for _ in range(3):
        recheck_domain(actor=SYSTEM, domain=domain, resolve=gone)
    assert domain.missing_since is not None
    assert domain.lapses_at == domain.missing_since + GRACE
    assert enforced_provider("ada@example.com") is not None, "a slip in a zone locks nobody in or out"
    recheck_domain(actor=SYSTEM, domain=domain, resolve=there(domain))
    assert domain.missing_since is None
    told = events(environment.org, "sso.domain.rechecked")
    assert [bool(event.after["missing_since"]) for event in told] == [True, False]


def test_after_the_time_of_grace_the_domain_counts_no_more(environment: Environment, later: timedelta) -> None:
    make_enforced(environment.org)
    domain = Domain.objects.for_org(environment.org).get()
    change_joining(actor=SYSTEM, domain=domain, auto_join=True, role=get_role("analyst"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actions, "timezone", timezone)
        recheck_domain(actor=SYSTEM, domain=domain, resolve=gone)
    assert recheck_domains(gone) == {}, "a week later"
    domain.refresh_from_db()
    assert (domain.verified_at, domain.missing_since, domain.auto_join) == (None, None, False)
    assert verified_domain("ada@example.com") is None
    assert enforced_provider("ada@example.com") is None
    told = events(environment.org, "sso.domain.lapsed")[-1]
    assert (told.actor_kind, told.after["verified_at"]) == ("system", None)
    assert recheck_domains(gone) == {}, "there is nothing left to look at"
    verify_domain(actor=SYSTEM, domain=domain, resolve=there(domain))
    assert enforced_provider("ada@example.com") is not None


def test_a_resolver_that_is_away_changes_nothing(environment: Environment, later: timedelta) -> None:
    first, second = make_domain(environment.org), make_domain(environment.org, "example.org")

    def away(name: str) -> list[str]:
        if name == first.record_name:
            raise HeadwaterError("resolver_unavailable", "no resolver answered")
        return [second.record_value]

    assert recheck_domains(away) == {"example.com": "no resolver answered"}
    assert Domain.objects.for_org(environment.org).filter(verified_at__isnull=False, missing_since=None).count() == 2


def test_a_domain_that_was_never_verified_is_left_alone(environment: Environment) -> None:
    domain = claim_domain(actor=SYSTEM, org=environment.org, name="example.com")
    with pytest.raises(HeadwaterError, match="is not verified"):
        recheck_domain(actor=SYSTEM, domain=domain, resolve=gone)
    assert recheck_domains(gone) == {}


def test_people_look_for_the_record_themselves(
    environment: Environment, owner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    domain = make_domain(environment.org)
    monkeypatch.setattr(dns, "txt_records", gone)
    answer = with_session(environment).post(f"/organizations/acme/domains/{domain.public_id}/verify", {})
    assert answer.body["missing_since"] is not None
    client = Client()
    client.force_login(owner.subject)
    page = client.get("/o/acme/-/settings/sign-in/").content.decode()
    assert "record missing" in page
    assert domain.record_value in page
