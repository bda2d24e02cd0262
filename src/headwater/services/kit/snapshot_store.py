"""The last good snapshots on disk, so that services start and serve for ever without control."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.snapshot import Snapshot
from headwater.core.snapshot_reader import SnapshotReader

KEEP: Final = 3
_FILE: Final = re.compile(r"(\d{1,18})\.json")
_ENVIRONMENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")

_log = get_logger(__name__)


class SnapshotStore:
    """Signed snapshots below ``run/snapshots/<environment id>/<number>.json``; several processes may share it."""

    def __init__(self, root: Path) -> None:
        """Keep them below ``root``."""
        self._root = root

    def environments(self) -> list[str]:
        """Return the environments that have snapshots."""
        with contextlib.suppress(FileNotFoundError):
            entries = [entry for entry in self._root.iterdir() if entry.is_dir()]
            return sorted(entry.name for entry in entries if _ENVIRONMENT.fullmatch(entry.name))
        return []

    def save(self, signed: SignedSnapshot, snapshot: Snapshot) -> None:
        """Write a verified snapshot durably and drop all but the newest few."""
        directory = self._directory(snapshot.environment.id)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = directory / f"{snapshot.number}.json"
        temporary = directory / f".{snapshot.number}.{os.getpid()}.{threading.get_ident()}"
        # The snapshot holds the digests of keys, so nobody but the owner reads it.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(signed.to_bytes())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_directory(directory)
        for path in self._files(snapshot.environment.id)[KEEP:]:
            path.unlink(missing_ok=True)

    def load(
        self, environment_id: str, key: Ed25519PublicKey, reader: SnapshotReader
    ) -> Iterator[tuple[SignedSnapshot, Snapshot]]:
        """Return the snapshots of an environment that verify, newest first, each read when it is asked for."""
        for path in self._files(environment_id):
            try:
                signed = SignedSnapshot.parse(path.read_bytes())
                snapshot = signed.verify(key, reader)
            except (OSError, HeadwaterError) as error:
                _log.warning("snapshot_file_refused", path=str(path), error=str(error))
                continue
            if snapshot.environment.id == environment_id:
                yield signed, snapshot

    def _directory(self, environment_id: str) -> Path:
        if not _ENVIRONMENT.fullmatch(environment_id):
            raise HeadwaterError("snapshot_invalid", f"{environment_id[:80]!r} is not an environment id")
        return self._root / environment_id

    def _files(self, environment_id: str) -> list[Path]:
        """Return the files of an environment, newest first."""
        numbered: list[tuple[int, Path]] = []
        with contextlib.suppress(FileNotFoundError):
            for path in self._directory(environment_id).iterdir():
                match = _FILE.fullmatch(path.name)
                if match:
                    numbered.append((int(match[1]), path))
        return [path for _number, path in sorted(numbered, reverse=True)]


def _sync_directory(directory: Path) -> None:
    """Make a rename in ``directory`` survive the loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
