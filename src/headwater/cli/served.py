"""Waiting until services serve what was just applied: each answer of theirs names the configuration it came from."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Final

import httpx

from headwater.cli.session import Session

PATIENCE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05
_HEADER: Final = "hw-config-version"


def wait_until_served(session: Session, number: int, *, seconds: float = PATIENCE_SECONDS) -> str | None:
    """Wait until services answer with configuration ``number`` or a later one; return what is wrong if they do not.

    There is nothing to wait for while neither services nor control are known to run.
    """
    key = session.find_api_key()
    if key is None or (session.running is None and session.settings.control.url is None):
        return None
    serving = "none"
    with httpx.Client(base_url=session.services_url, headers={"Authorization": f"Bearer {key}"}, timeout=2.0) as http:
        deadline = time.monotonic() + seconds  # to open a client takes long on a busy machine
        while time.monotonic() < deadline:
            try:
                reply = http.get("/v1/endpoints")
            except httpx.TransportError as error:
                return f"services at {session.services_url} do not answer ({error}); they follow once they do"
            serving = reply.headers.get(_HEADER, "none")
            if serving.isdecimal() and int(serving) >= number:
                return None
            if serving == "none" and reply.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                return f"services at {session.services_url} do not tell this key what they serve"
            time.sleep(_POLL_SECONDS)
    return (
        f"services have configuration {serving} still, after {seconds:g} s; {session.services_url}/readyz may say why"
    )
