"""Artifacts by their sha256."""

from __future__ import annotations

from pathlib import Path

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.engines.blobs.local import LocalBlobs
from headwater.engines.blobs.protocol import BlobStore


def open_blobs(settings: Settings) -> BlobStore:
    """Open the store of artifacts that the settings name.

    Raises:
        HeadwaterError: ``setting_invalid`` for a URL that no adapter serves.
    """
    url = settings.artifacts.url
    if url is None:
        return LocalBlobs(Home(settings.home).artifacts)
    if url.startswith("file:///"):
        return LocalBlobs(Path(url.removeprefix("file://")))
    raise HeadwaterError(
        "setting_invalid",
        f"artifacts.url {url[:80]!r} names a kind of store that this version does not have",
        hint="use file:///path, or leave it out",
    )
