"""A real Valkey for tests, reached by a socket in a folder of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from headwater.cli.valkey import find_program


@contextmanager
def running_valkey() -> Iterator[str]:
    """Start a server; yield its URL; stop it."""
    # A short path: the kernel takes about a hundred bytes for a socket.
    directory = Path(tempfile.mkdtemp(prefix="hw-vk-"))
    socket = directory / "s"
    command = [find_program(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"unix://{socket}"
        _await(url)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


def _await(url: str) -> None:
    client = redis.Redis.from_url(url)
    for _ in range(200):
        try:
            client.ping()
        except redis.RedisError:
            time.sleep(0.02)
            continue
        client.close()
        return
    raise TimeoutError("Valkey did not start")
