"""Tickets for browsers, which cannot set a header on a stream: sealed, short-lived, good for one live result.

A ticket says who watches what, encrypted under a key made of the node token, so that every node of the installation
reads what another has written and nobody else reads or writes any. It is for connecting soon; how long the stream may
last then is counted from when it was written.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from headwater.core.clock import Clock
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.snapshot import KeySpec
from headwater.core.spec import Spec

CONNECT_SECONDS: Final = 300
KEY_STREAM_SECONDS: Final = 3_600
READER_STREAM_SECONDS: Final = 900
"""Of a reader of the console only what they were when the ticket was written is known here: hence sooner."""
MAX_TICKET: Final = 8 << 10
_PURPOSE: Final = b"headwater live ticket 1"
_NONCE_BYTES: Final = 12


class Ticket(Spec):
    """Who may watch what.

    ``key_id`` names the key that asked for it, which has to be there still; else ``reader`` is a reader of the console.
    """

    environment_id: str
    endpoint: str
    parameters: dict[str, Any]
    connect_until: datetime
    stream_until: datetime
    key_id: str | None = None
    reader: KeySpec | None = None


class Tickets:
    """Writes and reads tickets."""

    def __init__(self, home: Home, clock: Clock) -> None:
        """Seal with what is made of the node token in ``home``."""
        self._home = home
        self._clock = clock

    def write(
        self,
        environment_id: str,
        endpoint: str,
        parameters: dict[str, Any],
        *,
        key_id: str | None = None,
        reader: KeySpec | None = None,
    ) -> tuple[str, datetime]:
        """Return a ticket as text, and until when a stream may be opened with it."""
        now = self._clock.now()
        until = now + timedelta(seconds=CONNECT_SECONDS)
        lasts = KEY_STREAM_SECONDS if reader is None else READER_STREAM_SECONDS
        ticket = Ticket(
            environment_id=environment_id,
            endpoint=endpoint,
            parameters=parameters,
            connect_until=until,
            stream_until=now + timedelta(seconds=lasts),
            key_id=key_id,
            reader=reader,
        )
        nonce = secrets.token_bytes(_NONCE_BYTES)
        content = ticket.model_dump_json(exclude_defaults=True).encode()
        sealed = nonce + self._cipher().encrypt(nonce, content, _PURPOSE)
        text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        if len(text) > MAX_TICKET:
            raise HeadwaterError(
                "payload_too_large", "parameters and attributes do not fit into a ticket", hint="ask with a key instead"
            )
        return text, until

    def read(self, text: str) -> Ticket:
        """Return what a ticket says; raises ``unauthenticated`` when it is none of ours, or too old to connect."""
        try:
            text = text[: MAX_TICKET + 1]
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            content = self._cipher().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _PURPOSE)
            ticket = Ticket.model_validate_json(content)
        except (ValueError, binascii.Error, InvalidTag, ValidationError):
            raise HeadwaterError("unauthenticated", "the ticket is not valid", hint=_HINT) from None
        if self._clock.now() >= ticket.connect_until:
            raise HeadwaterError("unauthenticated", "the ticket has expired", hint=_HINT)
        return ticket

    def _cipher(self) -> AESGCM:
        try:
            token = self._home.node_token.read_bytes().strip()
        except FileNotFoundError:
            token = b""
        if not token:
            raise HeadwaterError("config_unavailable", "the node token does not exist yet", retry_after_seconds=1)
        return AESGCM(hashlib.blake2b(_PURPOSE, key=hashlib.sha256(token).digest(), digest_size=32).digest())


_HINT: Final = "get another from POST /v1/endpoints/{endpoint}/live/tickets"
