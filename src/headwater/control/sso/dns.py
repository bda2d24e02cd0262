"""TXT records, asked of the machine's own resolvers: the one question that proving a domain needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from dns.exception import DNSException
from dns.resolver import NXDOMAIN, NoAnswer, NoResolverConfiguration
from dns.resolver import Resolver as SystemResolver

from headwater.core.errors import HeadwaterError

Resolver = Callable[[str], list[str]]
LIFETIME_SECONDS: Final = 6.0


def txt_records(name: str) -> list[str]:
    """Return the texts of the TXT records of ``name``; none when there is no such name.

    Raises:
        HeadwaterError: ``resolver_unavailable`` when no resolver answers, or none is configured.
    """
    try:
        answer = _resolver().resolve(name, "TXT", search=False, lifetime=LIFETIME_SECONDS)
    except (NXDOMAIN, NoAnswer):
        return []
    except DNSException as error:
        reason = "none is configured" if isinstance(error, NoResolverConfiguration) else str(error)
        raise HeadwaterError(
            "resolver_unavailable",
            f"no resolver answered for {name}: {reason}",
            hint="check /etc/resolv.conf on the control machine and try again",
        ) from error
    return [b"".join(record.strings).decode("utf-8", errors="replace") for record in answer]


@lru_cache(maxsize=1)
def _resolver() -> SystemResolver:
    return SystemResolver()
