"""A real, unmodified identity provider: ``oidc-provider`` on Node, installed once into a cache from a pinned lock."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).parents[1] / "counterparts" / "identity_provider"
CLIENT_ID: Final = "headwater"
CLIENT_SECRET: Final = "a secret that the two of them share"
_NPM: Final = shutil.which("npm") or ""
_NODE: Final = shutil.which("node") or ""


@dataclass(frozen=True)
class Issuer:
    """Where the provider will listen: known before it starts, for its clients are told first."""

    port: int

    @property
    def url(self) -> str:
        """Return the issuer's name."""
        return f"http://127.0.0.1:{self.port}"


def free_issuer() -> Issuer:
    """Return an issuer on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Issuer(probe.getsockname()[1])


@contextmanager
def running_issuer(issuer: Issuer, client_url: str, redirect_uri: str, *, verified: bool = True) -> Iterator[None]:
    """Run the provider, with us as its client, until the block ends; skip where it cannot be had."""
    folder = _installed()
    client = {
        "id": CLIENT_ID,
        "secret": CLIENT_SECRET,
        "redirect_uri": redirect_uri,
        "post_logout_redirect_uri": f"{client_url}/accounts/login/",
    }
    told = json.dumps({"port": issuer.port, "client": client, "verified": verified})
    with (folder / "server.log").open("w+") as log:
        process = subprocess.Popen(
            [_NODE, "server.mjs", told], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.strip() == issuer.url, (folder / "server.log").read_text()
            yield
        finally:
            process.terminate()
            process.communicate(timeout=30)


def _installed() -> Path:
    """Return the folder in which the provider is installed, as the lock says to the byte."""
    if not _NODE or not _NPM:
        pytest.skip("node and npm are not here, on which the identity provider runs")
    lock = (SOURCE / "package-lock.json").read_bytes() + (SOURCE / "server.mjs").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater-tests"
    folder = cache / f"identity-provider-{hashlib.sha256(lock).hexdigest()[:16]}"
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        made = Path(scratch) / "made"
        shutil.copytree(SOURCE, made)
        done = subprocess.run([_NPM, "ci"], cwd=made, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode:
            pytest.skip(f"the identity provider cannot be installed: {done.stderr.strip()[-300:]}")
        try:
            made.rename(folder)
        except OSError:  # another process was first
            assert folder.exists()
    return folder
