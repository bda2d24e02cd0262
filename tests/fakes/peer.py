"""A stand-in for services that answers what a test scripts and remembers what it was sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Request:
    """What was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Peer:
    """A server with scripted answers."""

    url: str
    answer: Callable[[Request], Answer]
    requests: list[Request] = field(default_factory=list)

    def verdicts(self, bad_rows: int = 0) -> None:
        """Answer ingest as if all rows of a body but the first ``bad_rows`` were good."""

        def answer(request: Request) -> Answer:
            rows = len(request.body.splitlines()) - ("csv" in request.headers["content-type"])
            bad = min(bad_rows, rows)
            counts = {"received": rows, "accepted": rows - bad, "quarantined": bad}
            document: dict[str, Any] = {"receipt": f"rcp_{len(self.requests)}", "counts": counts}
            if bad:
                document["error_summary"] = [{"code": "type_mismatch", "path": "/n", "count": bad}]
                document["errors"] = [{"row": 0, "errors": [{"path": "/n", "message": "another type"}]}]
            return 207 if bad else 200, {"content-type": "application/json"}, json.dumps(document).encode()

        self.answer = answer


def _length(headers: dict[str, str]) -> int:
    return int(headers.get("content-length", 0))


@contextmanager
def serve_peer() -> Iterator[Peer]:
    """Serve on a free port until left."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self._read_chunks() if "transfer-encoding" in headers else self.rfile.read(_length(headers))
            if headers.get("content-encoding") == "zstd":
                body = zstandard.ZstdDecompressor().decompress(body)
            request = Request(self.command, self.path, headers, body)
            peer.requests.append(request)
            status, extra, answer = peer.answer(request)
            self.send_response(status)
            for name, value in {**extra, "content-length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def _read_chunks(self) -> bytes:
            body = bytearray()
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return bytes(body)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names the server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the server's signature
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    peer = Peer(f"http://127.0.0.1:{server.server_port}", lambda _: (200, {}, b"{}"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
