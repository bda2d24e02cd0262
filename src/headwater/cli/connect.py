"""Services and control, as a command on this machine reaches them."""

from __future__ import annotations

from typing import Final

from headwater.cli.control_api import ControlApi
from headwater.cli.session import Session
from headwater.client import Client, Registry, RetryPolicy
from headwater.core.errors import HeadwaterError

_IMPATIENT: Final = RetryPolicy(attempts=3)
_PATIENT: Final = RetryPolicy(attempts=12)


def connect(session: Session, *, patient: bool = False) -> Client:
    """Return a client of the services; a ``patient`` one waits out a restart, for loads that nobody watches.

    Raises:
        HeadwaterError: ``unauthenticated`` when there is no key to be found.
    """
    return Client(session.services_url, _key(session), retry=_PATIENT if patient else _IMPATIENT)


def connect_control(session: Session) -> ControlApi | None:
    """Return a connection to control, or None when it is not known to run: then this process can do its work."""
    return ControlApi(session.control_url, _key(session)) if _is_known_to_run(session) else None


def require_control(session: Session) -> ControlApi:
    """Return a connection to control; raises ``config_unavailable`` when it is not known to run."""
    _require_running(session)
    return ControlApi(session.control_url, _key(session))


def connect_registry(session: Session) -> Registry:
    """Return a connection to the registry of the target's project; raises as ``require_control`` does."""
    _require_running(session)
    target = session.settings.target
    return Registry(
        session.control_url,
        _key(session),
        organization=target.organization,
        project=target.project,
        environment=target.environment,
    )


def _is_known_to_run(session: Session) -> bool:
    return session.running is not None or session.settings.control.url is not None


def _require_running(session: Session) -> None:
    if not _is_known_to_run(session):
        raise HeadwaterError(
            "config_unavailable",
            f"control does not run on {session.home.root}",
            hint="start `headwater up`, or set HEADWATER_CONTROL__URL",
        )


def _key(session: Session) -> str:
    key = session.find_api_key()
    if key is None:
        raise HeadwaterError(
            "unauthenticated",
            f"no API key: HEADWATER_API_KEY is not set and {session.home.demo_key} does not exist",
            hint="start `headwater up` once, or make a key with `headwater keys create NAME --role ROLE`",
        )
    return key
