"""What the command line's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fakes.peer import Peer, serve_peer


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Peer]:
    """Return a stand-in for services and point the commands there."""
    with serve_peer() as peer:
        monkeypatch.setenv("HEADWATER_URL", peer.url)
        monkeypatch.setenv("HEADWATER_API_KEY", "hw_test")
        yield peer
