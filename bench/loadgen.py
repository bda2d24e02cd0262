"""A load that remembers each reply: when it came, how long it took, what it said. For what wrk's sums do not show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness import median


@dataclass(frozen=True)
class Reply:
    """One reply: the instant it came and its latency in seconds, and whether it was what was asked for."""

    at: float
    seconds: float
    is_good: bool
    said: str


@dataclass(frozen=True)
class Ask:
    """What is asked over and over, and what a reply's body says in a word."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    read: Callable[[bytes], str]

    def request(self) -> bytes:
        """Return the bytes of the request."""
        parts = urlsplit(self.url)
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {len(self.body)}", "", ""]).encode() + self.body


async def load(ask: Ask, *, connections: int, until: asyncio.Event) -> list[Reply]:
    """Ask over as many connections, each again as soon as it was answered, until told to stop."""
    found: list[Reply] = []
    await asyncio.gather(*(_client(ask, found, until) for _ in range(connections)))
    return found


async def _client(ask: Ask, found: list[Reply], until: asyncio.Event) -> None:
    parts = urlsplit(ask.url)
    request = ask.request()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while not until.is_set():
        began = time.monotonic()
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
        except (OSError, EOFError, ValueError) as error:
            found.append(Reply(time.monotonic(), 0.0, is_good=False, said=repr(error)))
            writer.close()
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            continue
        now = time.monotonic()
        is_good = head.startswith(b"HTTP/1.1 200 ")
        found.append(Reply(now, now - began, is_good, ask.read(body) if is_good else body.decode(errors="replace")))
    writer.close()


def p99_ms(replies: list[Reply]) -> float:
    """Return the 99th percentile of latencies in milliseconds, NaN of none."""
    ordered = sorted(reply.seconds for reply in replies)
    return ordered[int(len(ordered) * 0.99)] * 1e3 if ordered else float("nan")


def typical_p99_ms(replies: list[Reply], began: float, ended: float) -> float:
    """Return the median of the 99th percentiles of whole seconds: one second's own would be luck."""
    seconds = [[r for r in replies if began + n <= r.at < began + n + 1] for n in range(int(ended - began))]
    return median([p99_ms(part) for part in seconds if part])
