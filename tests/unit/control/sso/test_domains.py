from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from dns.resolver import NoResolverConfiguration
from dns.resolver import Resolver as SystemResolver
from tests.builders.control import make_environment
from tests.builders.sign_on import make_domain

from headwater.control.access.queries import get_role
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment
from headwater.control.sso import dns
from headwater.control.sso.actions import change_joining, claim_domain, verify_domain
from headwater.control.sso.models import Domain
from headwater.control.sso.rules import domain_of, verified_domain
from headwater.core.errors import HeadwaterError


def test_a_domain_counts_once_its_zone_says_so(environment: Environment) -> None:
    domain = claim_domain(actor=SYSTEM, org=environment.org, name=" Example.COM. ")
    assert domain.name == "example.com"
    assert domain.record_name == "_headwater-challenge.example.com"
    for found in ([], ["v=spf1 -all"], [domain.record_value + "0"], [domain.record_value.upper()]):
        with pytest.raises(HeadwaterError, match="_headwater-challenge"):
            verify_domain(actor=SYSTEM, domain=domain, resolve=lambda _name, found=found: found)  # type: ignore[misc]
    assert verified_domain("ada@example.com") is None
    zone = {"_headwater-challenge.example.com": [domain.record_value]}
    verify_domain(actor=SYSTEM, domain=domain, resolve=zone.__getitem__)
    assert verified_domain("Ada@EXAMPLE.com") == domain
    assert verified_domain("ada@sub.example.com") is None
    assert verified_domain("ada@example.com.evil.example") is None


def test_a_verified_domain_has_one_owner(environment: Environment) -> None:
    other = make_environment("other").org
    late = claim_domain(actor=SYSTEM, org=other, name="example.com")
    make_domain(environment.org)
    with pytest.raises(HeadwaterError, match="another organisation") as caught:
        verify_domain(actor=SYSTEM, domain=late, resolve=lambda _: [late.record_value])
    assert caught.value.code == "conflict"
    with pytest.raises(HeadwaterError, match="another organisation"):
        claim_domain(actor=SYSTEM, org=make_environment("third").org, name="example.com")


def test_everybody_gets_another_challenge(environment: Environment) -> None:
    mine = claim_domain(actor=SYSTEM, org=environment.org, name="example.com")
    theirs = claim_domain(actor=SYSTEM, org=make_environment("other").org, name="example.com")
    assert mine.record_value != theirs.record_value
    with pytest.raises(HeadwaterError):
        verify_domain(actor=SYSTEM, domain=theirs, resolve=lambda _: [mine.record_value])


@pytest.mark.parametrize("name", ["", "com", "exa mple.com", "-a.com", "a..com", "1.2.3.4", "a@b", "x" * 64 + ".com"])
def test_what_is_no_domain_is_refused(environment: Environment, name: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        claim_domain(actor=SYSTEM, org=environment.org, name=name)
    assert caught.value.code == "invalid_parameter"


def test_names_in_other_scripts_are_one_with_their_ascii_form(environment: Environment) -> None:
    assert claim_domain(actor=SYSTEM, org=environment.org, name="Bücher.example").name == "xn--bcher-kva.example"
    assert domain_of("ada@bücher.example") == "xn--bcher-kva.example"
    assert domain_of("no address") == "no address"
    assert domain_of('"a@evil.example"@example.com') == "example.com"


def test_joining_needs_a_verified_domain_and_a_role(environment: Environment) -> None:
    claimed = claim_domain(actor=SYSTEM, org=environment.org, name="example.com")
    with pytest.raises(HeadwaterError, match="not verified"):
        change_joining(actor=SYSTEM, domain=claimed, auto_join=True, role=get_role("analyst"))
    verify_domain(actor=SYSTEM, domain=claimed, resolve=lambda _: [claimed.record_value])
    with pytest.raises(HeadwaterError):
        change_joining(actor=SYSTEM, domain=claimed, auto_join=True)
    claimed = Domain.unscoped.get()
    assert change_joining(actor=SYSTEM, domain=claimed, auto_join=True, role=get_role("analyst")).auto_join


class Resolver:
    """A name server on loopback that answers as it is told."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.texts: list[list[bytes]] = [[b"v=spf1 -all"], [b"headwater-", b"domain"]]
        self.change: Callable[[bytes], bytes] = lambda reply: reply
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                query, sender = self.socket.recvfrom(512)
            except OSError:
                return
            header = query[:2] + struct.pack("!5H", 0x8180, 1, len(self.texts), 0, 0)
            answers = b""
            for pieces in self.texts:
                data = b"".join(bytes([len(piece)]) + piece for piece in pieces)
                answers += struct.pack("!3HIH", 0xC00C, 16, 1, 60, len(data)) + data
            self.socket.sendto(self.change(header + query[12:] + answers), sender)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver()
    system = SystemResolver(configure=False)
    system.nameservers = ["127.0.0.1"]
    system.port = made.socket.getsockname()[1]
    monkeypatch.setattr(dns, "_resolver", lambda: system)
    monkeypatch.setattr(dns, "LIFETIME_SECONDS", 0.5)
    yield made
    made.socket.close()


def test_txt_records_are_read_from_the_wire(resolver: Resolver) -> None:
    assert dns.txt_records("_headwater-challenge.example.com") == ["v=spf1 -all", "headwater-domain"]
    resolver.texts = []
    assert dns.txt_records("example.com") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: b"\0\0" + reply[2:],
        lambda reply: reply[:12],
        lambda reply: reply[:-3],
        lambda reply: reply[:13] + b"X" + reply[14:],
        lambda reply: reply[:2] + b"\x81\x82" + reply[4:],
        lambda reply: reply[:2] + b"\x01\x00" + reply[4:],
        lambda _: b"",
    ],
    ids=["another id", "no question", "cut off", "another question", "server failure", "a query", "nothing"],
)
def test_an_answer_that_is_not_one_to_our_question_is_not_believed(
    resolver: Resolver, change: Callable[[bytes], bytes]
) -> None:
    resolver.change = change
    with pytest.raises(HeadwaterError) as caught:
        dns.txt_records("_headwater-challenge.example.com")
    assert caught.value.code == "resolver_unavailable"


def test_a_machine_without_resolvers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> SystemResolver:
        raise NoResolverConfiguration

    monkeypatch.setattr(dns, "_resolver", none)
    with pytest.raises(HeadwaterError, match="none is configured"):
        dns.txt_records("example.com")
