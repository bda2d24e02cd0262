"""Connections of remote models: to public addresses, and to private ones that the operator named.

A model's address comes from whoever may declare models, and this machine reaches more than they do. The name is
resolved here and the connection goes to the very address that was judged, so a name that changes its mind between the
two leads nowhere.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import httpcore
import httpx

from headwater.core.addresses import Network, is_within, read_networks
from headwater.core.errors import HeadwaterError

_NAT64: Final = IPv6Network("64:ff9b::/96")


def judged(host: str, found: Iterable[str], networks: Sequence[Network]) -> str:
    """Return one of the addresses that ``host`` was resolved to, if every one of them may be reached.

    Raises:
        HeadwaterError: ``model_unavailable`` for an address that is neither public nor in ``networks``.
    """
    texts = sorted(set(found), key=lambda text: (":" in text, text))
    for text in texts:
        address = _meant(ip_address(text.partition("%")[0]))
        if not (is_within(address, networks) or (address.is_global and not address.is_multicast)):
            raise HeadwaterError(
                "model_unavailable",
                f"{host} leads to {text}, which is not a public address",
                hint="let the operator name its network in inference.remote_networks",
            )
    return texts[0]


def _meant(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for, whichever way it is wrapped."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address


class GuardedTransport(httpx.HTTPTransport):
    """Sends requests over guarded connections, whatever the environment says about proxies."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        """Let connections go to public addresses and to ``networks``."""
        super().__init__()
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), network_backend=_Backend(read_networks(networks))
        )


class GuardedAsyncTransport(httpx.AsyncHTTPTransport):
    """The same for an event loop."""

    def __init__(self, networks: tuple[str, ...], *, connections: int) -> None:
        """Let at most ``connections`` go to public addresses and to ``networks``."""
        super().__init__()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(), max_connections=connections,
            max_keepalive_connections=connections, keepalive_expiry=5.0,
            network_backend=_AsyncBackend(read_networks(networks)),
        )  # fmt: skip


class _Backend(httpcore.SyncBackend):
    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.NetworkStream:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        address = judged(host, (str(entry[4][0]) for entry in entries), self._networks)
        return super().connect_tcp(address, port, *args, **options)


class _AsyncBackend(httpcore.AnyIOBackend):
    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    async def connect_tcp(self, host: str, port: int, *args: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        try:
            entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(f"{host} cannot be resolved: {error}") from error
        address = judged(host, (str(entry[4][0]) for entry in entries), self._networks)
        return await super().connect_tcp(address, port, *args, **options)
