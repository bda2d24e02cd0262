"""Which views there are, by the newest snapshots that services kept in the home."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.sealed_snapshot import SignedSnapshot, load_public_key
from headwater.core.snapshot import Snapshot
from headwater.core.streams import stream_name

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    path: Path
    snapshot: Snapshot


class Configuration:
    """The newest verified snapshot of every environment; ``refresh`` looks for newer ones."""

    def __init__(self, home: Home) -> None:
        """Read below ``home``; nothing is read yet."""
        self._home = home
        self._kept: dict[str, _Kept] = {}
        self._refused: set[Path] = set()

    @property
    def snapshots(self) -> Mapping[str, Snapshot]:
        """Return the snapshots by environment."""
        return {environment: kept.snapshot for environment, kept in self._kept.items()}

    def refresh(self) -> bool:
        """Take what is newer; return whether anything was."""
        changed = False
        for environment in self._home.kept_environments():
            newest = _newest(self._home.snapshots / environment)
            kept = self._kept.get(environment)
            if newest is None or newest in self._refused or (kept is not None and kept.path == newest):
                continue
            try:
                key = load_public_key(self._home.snapshot_public_key.read_text(encoding="ascii"))
                snapshot = SignedSnapshot.parse(newest.read_bytes()).verify(key)
            except (OSError, HeadwaterError) as error:
                if newest.exists():
                    self._refused.add(newest)
                    logger.warning("online.snapshot.refused", path=str(newest), error=str(error))
                continue
            self._kept[environment] = _Kept(newest, snapshot)
            changed = True
        return changed

    def streams(self) -> dict[str, list[tuple[str, str]]]:
        """Return the online views by the stream they are computed from, as environment and name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for environment, snapshot in self.snapshots.items():
            for name, view in snapshot.features.items():
                if view.online and view.dataset in snapshot.datasets:
                    found.setdefault(stream_name(environment, view.dataset), []).append((environment, name))
        return found


def _newest(directory: Path) -> Path | None:
    try:
        numbered = [(int(path.stem), path) for path in directory.glob("*.json") if path.stem.isdigit()]
    except OSError:
        return None
    return max(numbered)[1] if numbered else None
