"""An authenticator app, written from RFC 6238 and knowing nothing of our code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import time


def shown_by_app(secret: str) -> str:
    """Return the six digits that an app with this secret shows now."""
    counter = struct.pack(">Q", int(time.time()) // 30)
    mac = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    at = mac[-1] & 0xF
    return f"{(struct.unpack('>I', mac[at : at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"
