"""An organisation names its issuer; that must not make us ask the machines inside our own network."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import requests

from headwater.control import configuration
from headwater.control.sso import fetching
from headwater.control.sso.fetching import AddressRefused, GuardedSession, checked, discover, public_address
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import IdentitySettings
from headwater.core.settings import Settings

INSIDE = [
    "127.0.0.1", "10.0.0.8", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
    "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.8", "::ffff:127.0.0.1", "2002:a00:8::", "64:ff9b::a00:8",
]  # fmt: skip


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def look_up(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolving(monkeypatch, address)
    with pytest.raises(AddressRefused, match="not a public address"):
        public_address("issuer.example", 443)


@pytest.mark.parametrize("address", INSIDE)
def test_one_address_inside_among_others_is_enough(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    resolving(monkeypatch, "93.184.216.34", address)
    with pytest.raises(AddressRefused):
        public_address("issuer.example", 443)


def test_a_public_name_leads_to_the_address_that_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "2606:2800:220:1::1", "93.184.216.34")
    assert public_address("issuer.example", 443) == "93.184.216.34"


def test_numbers_in_disguise_are_refused_too() -> None:
    for host in ("127.1", "2130706433", "0x7f000001", "localhost"):
        with pytest.raises(AddressRefused):
            public_address(host, 80)


@pytest.mark.parametrize(
    "issuer", ["http://issuer.example", "ftp://issuer.example", "file:///etc/passwd", "issuer.example", ""]
)
def test_only_https_is_asked(issuer: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        discover(issuer)
    assert caught.value.code == "provider_unusable"


class Issuer(http.server.BaseHTTPRequestHandler):
    """Answers whatever the test put into ``answers``."""

    answers: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, headers, body = self.answers.get(self.path, (404, {}, b""))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Issuer.answers, Issuer.asked = {}, []
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def allow_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    given: Settings = configuration.current().model_copy(update={"identity": IdentitySettings(loopback_issuers=True)})
    monkeypatch.setattr(configuration, "current", lambda: given)


def test_this_machine_is_asked_when_the_settings_allow_it_alone(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Issuer.answers["/"] = (200, {}, b"hello")
    with GuardedSession() as session, pytest.raises(requests.ConnectionError):
        session.get(issuer + "/")
    assert Issuer.asked == []
    allow_loopback(monkeypatch)
    with GuardedSession() as session:
        assert session.get(issuer + "/").text == "hello"


def test_a_redirect_passes_the_same_gate(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_loopback(monkeypatch)
    Issuer.answers["/"] = (302, {"Location": "https://10.0.0.8/secret"}, b"")
    with GuardedSession() as session, pytest.raises(requests.ConnectionError, match="not a public address"):
        session.get(issuer + "/")
    Issuer.answers["/"] = (302, {"Location": "http://169.254.169.254/latest/meta-data/"}, b"")
    with GuardedSession() as session, pytest.raises(AddressRefused, match="https"):
        session.get(issuer + "/")


def test_an_answer_without_end_is_cut_off(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_loopback(monkeypatch)
    Issuer.answers["/"] = (200, {}, b"x" * (fetching.LARGEST_ANSWER + 1))
    with GuardedSession() as session, pytest.raises(requests.ConnectionError, match="longer than"):
        session.get(issuer + "/")


def test_a_proxy_of_the_environment_is_no_way_around(issuer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    allow_loopback(monkeypatch)
    for name in ("http_proxy", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    Issuer.answers["/"] = (200, {}, b"direct")
    with GuardedSession() as session:
        assert session.get(issuer + "/").text == "direct"


def test_an_issuer_that_calls_itself_something_else_is_refused() -> None:
    document = {
        "issuer": "https://issuer.example",
        "authorization_endpoint": "https://issuer.example/auth",
        "token_endpoint": "https://issuer.example/token",
        "jwks_uri": "https://issuer.example/jwks",
    }
    assert checked("https://issuer.example", document) == document
    bad: list[Any] = [document | {"issuer": "https://evil.example"}, {}, [], None, "x", {"issuer": document["issuer"]}]
    for told in bad:
        with pytest.raises(HeadwaterError):
            checked("https://issuer.example", told)
    for name in ("token_endpoint", "end_session_endpoint", "authorization_endpoint"):
        for url in ("javascript:alert(1)", "http://issuer.example/x", "data:text/html,x"):
            with pytest.raises(HeadwaterError):
                checked("https://issuer.example", document | {name: url})
