"""Which version of an endpoint a request is for, and what a caller is told of its end."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote

from headwater.core.endpoints import endpoint_label, split_label
from headwater.core.errors import HeadwaterError
from headwater.services.kit.service import Caller
from headwater.services.query.catalog import CompiledEndpoint, CompiledQueries


def find_endpoint(
    caller: Caller, compiled: CompiledQueries, label: str, now: datetime | None = None
) -> CompiledEndpoint:
    """Return an endpoint that ``caller`` may invoke.

    Args:
        caller: who asks.
        compiled: what the environment serves.
        label: ``daily@2`` for one version; ``daily`` for the newest that is not deprecated, else the newest.
        now: the instant it is asked at; None: the present.

    Raises:
        HeadwaterError: ``endpoint_not_found`` when there is none, or none for this caller; ``endpoint_gone`` after its
            sunset, naming the successor; ``sql_rejected`` when it cannot be served.
    """
    name, version = split_label(label)
    versions = [one for one in compiled.versions.get(name, ()) if one.is_open_to(caller)]
    if version is not None:
        versions = [one for one in versions if one.spec.version == version]
    if not versions:
        raise caller.environment.missing(
            "endpoint_not_found",
            f"there is no endpoint {label[:64]!r} for this key",
            hint="see GET /v1/endpoints; the key needs endpoint.invoke on it, and one of the roles it names if it does",
        )
    endpoint = versions[0]
    if len(versions) > 1 or endpoint.spec.deprecated_at is not None:
        at = now or datetime.now(UTC)
        endpoint = next((one for one in versions if not _is_past(one.spec.deprecated_at, at)), None) or next(
            (one for one in versions if not _is_past(one.spec.sunset_at, at)), endpoint
        )
        if _is_past(endpoint.spec.sunset_at, at):
            raise _gone(endpoint, successor_of(compiled, endpoint, at))
    if endpoint.fault is not None:
        raise endpoint.fault
    return endpoint


def successor_of(compiled: CompiledQueries, endpoint: CompiledEndpoint, now: datetime) -> str | None:
    """Return the path of the newest later version that is served; None when there is none."""
    spec = endpoint.spec
    for one in compiled.versions.get(spec.name, ()):
        if one.spec.version > spec.version and not _is_past(one.spec.sunset_at, now):
            return f"/v1/endpoints/{quote(endpoint_label(spec.name, one.spec.version), safe='@')}"
    return None


def ending_headers(compiled: CompiledQueries, endpoint: CompiledEndpoint, now: datetime) -> list[tuple[bytes, bytes]]:
    """Return ``Deprecation`` (RFC 9745), ``Sunset`` (RFC 8594) and a link to the successor, as far as there are any."""
    spec = endpoint.spec
    if spec.deprecated_at is None:
        return []
    headers = [(b"deprecation", f"@{int(spec.deprecated_at.timestamp())}".encode())]
    if spec.sunset_at is not None:
        headers.append((b"sunset", format_datetime(spec.sunset_at.astimezone(UTC), usegmt=True).encode()))
    successor = successor_of(compiled, endpoint, now)
    if successor is not None:
        headers.append((b"link", f'<{successor}>; rel="successor-version"'.encode()))
    return headers


def _gone(endpoint: CompiledEndpoint, successor: str | None) -> HeadwaterError:
    spec = endpoint.spec
    label = endpoint_label(spec.name, spec.version)
    assert spec.sunset_at is not None, "only a version with a sunset is gone"
    return HeadwaterError(
        "endpoint_gone",
        f"{label} is not served since {spec.sunset_at.date().isoformat()}",
        hint=f"ask {successor}" if successor else "ask who runs this for what took its place",
        extra={"successor": successor} if successor else {},
    )


def _is_past(instant: datetime | None, now: datetime) -> bool:
    return instant is not None and instant <= now
