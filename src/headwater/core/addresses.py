"""Where a request comes from, and whether a key may be used from there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from headwater.core.errors import HeadwaterError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def read_network(text: str) -> Network:
    """Return the network ``text`` names, such as ``10.1.0.0/16``; one address is a network too.

    Raises:
        HeadwaterError: ``invalid_parameter`` naming the text and what is wrong with it.
    """
    try:
        return ip_network(text.strip())
    except ValueError as error:
        raise HeadwaterError(
            "invalid_parameter", f"{text[:64]!r} is no network: {error}", hint="write 10.1.0.0/16 or 2001:db8::/32"
        ) from None


@lru_cache(maxsize=4_096)
def read_networks(texts: tuple[str, ...]) -> tuple[Network, ...]:
    """Return the networks that the texts name; errors as ``read_network``."""
    return tuple(read_network(text) for text in texts)


def read_address(text: str) -> Address | None:
    """Return an address, an IPv4 one also where it is written as IPv6; None when it is none."""
    try:
        address = ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_within(address: Address | None, networks: Iterable[Network]) -> bool:
    """Return whether an address is known and lies in one of ``networks``."""
    return address is not None and any(address in network for network in networks)


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """Return where a request comes from.

    Args:
        peer: the address at the other end of the connection.
        forwarded: the values of its ``X-Forwarded-For`` headers, in order. Anybody can write those, so they count only
            as far as ``trusted`` proxies wrote them: from the right, up to the first address that is none of theirs.
        trusted: the networks of the proxies in front; none: the peer is the client.
    """
    address = read_address(peer) if peer else None
    if not is_within(address, trusted):
        return address
    for text in reversed([part for value in forwarded for part in value.split(",")]):
        address = read_address(text)
        if not is_within(address, trusted):
            return address
    return address
