"""Asking an issuer that an organisation named: never a machine inside our own network, never without an end.

The name is resolved here and the connection goes to the very address that was judged, so a name that changes its mind
between the two leads nowhere. Redirects pass the same gate.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager

from headwater.control import configuration
from headwater.core.errors import HeadwaterError

LARGEST_ANSWER: Final = 1 << 20
TIMEOUT_SECONDS: Final = 5
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(requests.ConnectionError):
    """The address lies where an issuer may not."""


def public_address(host: str, port: int) -> str:
    """Return an address of ``host``, every one of which is public (or loopback, where the settings allow it).

    Raises:
        AddressRefused: the name resolves to a private, link-local, reserved or loopback address, or to none.
    """
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise AddressRefused(f"{host} cannot be resolved: {error}") from error
    for text in found:
        if not _allowed(text):
            raise AddressRefused(f"{host} leads to {text}, which is not a public address")
    return min(found, key=lambda text: (":" in text, text))


def _allowed(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _within(address) or address
    if address.is_loopback:
        return configuration.current().identity.loopback_issuers
    return address.is_global and not address.is_multicast


def _within(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for, whichever way it is wrapped."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


class _Judged:
    """A connection that goes to the address that was judged; name and certificate stay the host's."""

    _dns_host: str
    port: int

    def _new_conn(self) -> socket.socket:
        named = self._dns_host
        self._dns_host = public_address(named, self.port)
        try:
            connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        finally:
            self._dns_host = named
        return connected


class _Connection(_Judged, HTTPConnection):
    pass


class _SecureConnection(_Judged, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Guard(HTTPAdapter):
    """Sends requests over guarded connections and reads no more of an answer than it should have."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        require_secure(request.url or "")
        safe: dict[str, Any] = {"stream": True, "proxies": {}, "timeout": options.get("timeout") or TIMEOUT_SECONDS}
        response = super().send(request, *args, **options | safe)
        content = response.raw.read(LARGEST_ANSWER + 1, decode_content=True)
        if len(content) > LARGEST_ANSWER:
            raise requests.ConnectionError(f"the answer of {request.url} is longer than {LARGEST_ANSWER} bytes")
        response._content = content  # noqa: SLF001 - what reading it would set
        return response


class GuardedSession(requests.Session):
    """A session that reaches public addresses over TLS alone, whatever the environment says about proxies."""

    def __init__(self) -> None:
        """Guard both schemes."""
        super().__init__()
        self.trust_env = False
        self.max_redirects = 3
        guard = _Guard(max_retries=0)
        self.mount("https://", guard)
        self.mount("http://", guard)


def require_secure(url: str) -> None:
    """Raise ``AddressRefused`` unless ``url`` is https, or http to this very machine where the settings allow it."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2].partition(":")[0].strip("[]")
    local = host in ("127.0.0.1", "localhost") and configuration.current().identity.loopback_issuers
    if scheme != "https" and not (scheme == "http" and local):
        raise AddressRefused(f"{url[:200]}: issuers are reached over https")


def discover(issuer: str) -> dict[str, Any]:
    """Return what an issuer says about itself.

    Raises:
        HeadwaterError: ``provider_unusable`` when it cannot be reached, or calls itself something else.
    """
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    try:
        with GuardedSession() as session:
            response = session.get(url)
            response.raise_for_status()
            document = response.json()
    except (requests.RequestException, ValueError) as error:
        raise HeadwaterError(
            "provider_unusable",
            f"the issuer {issuer} cannot be used: {str(error)[:300]}",
            hint="give the issuer's public https address, the one before /.well-known/openid-configuration",
        ) from error
    return checked(issuer, document)


def checked(issuer: str, document: Any) -> dict[str, Any]:
    """Return an issuer's own description of itself, if it is one and everything it names is reached safely."""
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        told = document.get("issuer") if isinstance(document, dict) else None
        raise HeadwaterError(
            "provider_unusable", f"the issuer {issuer} calls itself {told!r}", hint="give the issuer exactly as it does"
        )
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not isinstance(document.get(name), str):
            raise HeadwaterError("provider_unusable", f"the issuer {issuer} names no {name}")
    try:
        for name in (
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "userinfo_endpoint",
            "end_session_endpoint",
        ):
            if document.get(name):
                require_secure(str(document[name]))
    except AddressRefused as error:
        raise HeadwaterError("provider_unusable", str(error)) from error
    return document
