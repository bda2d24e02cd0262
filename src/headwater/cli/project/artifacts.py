"""Putting artifacts before what names them; large ones with a bar, and none that is there already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headwater.cli.control_api import ControlApi
from headwater.cli.progress import show_progress
from headwater.client import ApiError

LARGE_BYTES: Final = 8 << 20


def put_artifacts(api: ControlApi, artifacts: Mapping[str, Path]) -> None:
    """Put files by their digests; putting one again changes nothing.

    Raises:
        ApiError: control's refusal, ``digest_mismatch`` for a file that changed meanwhile.
    """
    large = {digest: path for digest, path in artifacts.items() if path.stat().st_size >= LARGE_BYTES}
    for digest, path in artifacts.items():
        if digest not in large:
            with path.open("rb") as file:
                api.put_file(f"/artifacts/{digest}", file)
    missing = {digest: path for digest, path in large.items() if not _is_there(api, digest)}
    if not missing:
        return
    with show_progress("sending", [path.stat().st_size for path in missing.values()]) as progress:
        for digest, path in missing.items():
            progress.file(path.name)
            with path.open("rb") as file:
                api.put_file(f"/artifacts/{digest}", file, progress.bytes)


def _is_there(api: ControlApi, digest: str) -> bool:
    try:
        return bool(api.request("GET", f"/artifacts/{digest}")["sha256"] == digest)
    except ApiError:
        # It is not there, or control cannot say: sending it is never wrong.
        return False
