"""TXT records, asked of the machine's own resolvers: the one question that proving a domain needs.

The answer decides who owns a domain, so it is taken from the configured resolvers alone, over a port and an id that
nobody can guess, and over TCP when it does not fit a datagram.
"""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from headwater.core.errors import HeadwaterError

Resolver = Callable[[str], list[str]]
_TXT: Final = 16
_INTERNET: Final = 1
_TRUNCATED: Final = 0x0200
_RESPONSE: Final = 0x8000
_NO_SUCH_NAME: Final = 3
PORT: Final = 53
_TIMEOUT: Final = 3.0
_MOST_JUMPS: Final = 64
_POINTER: Final = 0xC0


class _Unusable(Exception):
    """A resolver did not answer, or not sensibly."""


def txt_records(name: str) -> list[str]:
    """Return the texts of the TXT records of ``name``; none when there is no such name.

    Raises:
        HeadwaterError: ``resolver_unavailable`` when no resolver answers.
    """
    problems = []
    for server in _servers():
        try:
            return list(_ask(server, name))
        except (OSError, _Unusable) as error:
            problems.append(f"{server}: {error}")
    raise HeadwaterError(
        "resolver_unavailable",
        f"no resolver answered for {name}: {'; '.join(problems) or 'none is configured'}",
        hint="check /etc/resolv.conf on the control machine and try again",
    )


def _servers(file: Path = Path("/etc/resolv.conf")) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [words[1] for line in lines if (words := line.split())[:1] == ["nameserver"] and len(words) > 1]


def _ask(server: str, name: str) -> Iterator[str]:
    number = secrets.randbits(16)
    question = b"".join(bytes([len(label)]) + label for label in name.encode("ascii").split(b".")) + b"\0"
    query = struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + question + struct.pack("!2H", _TXT, _INTERNET)
    reply = _over_udp(server, query)
    _check(reply, query)
    if struct.unpack_from("!H", reply, 2)[0] & _TRUNCATED:
        reply = _over_tcp(server, query)
        _check(reply, query)
    return _texts(reply)


def _over_udp(server: str, query: bytes) -> bytes:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.settimeout(_TIMEOUT)
        asked.connect((server, PORT))
        asked.send(query)
        return asked.recv(4096)


def _over_tcp(server: str, query: bytes) -> bytes:
    with socket.create_connection((server, PORT), timeout=_TIMEOUT) as asked, asked.makefile("rb") as stream:
        asked.sendall(struct.pack("!H", len(query)) + query)
        (length,) = struct.unpack("!H", stream.read(2))
        return stream.read(length)


def _check(reply: bytes, query: bytes) -> None:
    """Refuse what does not answer our question."""
    if len(reply) < len(query) or reply[:2] != query[:2] or reply[12 : len(query)].lower() != query[12:].lower():
        raise _Unusable("the answer is to another question")
    flags = struct.unpack_from("!H", reply, 2)[0]
    if not flags & _RESPONSE or flags & 0xF not in (0, _NO_SUCH_NAME):
        raise _Unusable(f"it answered with code {flags & 0xF}")


def _texts(reply: bytes) -> Iterator[str]:
    try:
        questions, answers = struct.unpack_from("!2H", reply, 4)
        at = 12
        for _ in range(questions):
            at = _after_name(reply, at) + 4
        for _ in range(answers):
            at = _after_name(reply, at)
            kind, _class, _ttl, length = struct.unpack_from("!2HIH", reply, at)
            at += 10
            if at + length > len(reply):
                raise _Unusable("the answer is cut off")
            if kind == _TXT:
                yield _joined(reply[at : at + length])
            at += length
    except (struct.error, IndexError) as error:
        raise _Unusable("the answer is cut off") from error


def _after_name(reply: bytes, at: int) -> int:
    for _ in range(_MOST_JUMPS):
        length = reply[at]
        if length >= _POINTER:
            return at + 2
        at += 1 + length
        if length == 0:
            return at
    raise _Unusable("a name in the answer has no end")


def _joined(data: bytes) -> str:
    """Return the pieces of one record as the one text they are."""
    parts, at = [], 0
    while at < len(data):
        parts.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return b"".join(parts).decode("utf-8", errors="replace")
