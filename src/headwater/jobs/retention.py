"""How long rows and keys are kept, from the configurations that services keep on disk.

The sealer reads them as services do when control is away: the newest that verifies. Without one nothing expires.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from headwater.contracts.spec import contract_from_spec
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.sealed_snapshot import SignedSnapshot, load_public_key
from headwater.core.snapshot import Snapshot
from headwater.core.streams import EXPOSURES, QUARANTINE, QUERY_LOG, stream_name

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """What one environment keeps for how long.

    Attributes:
        quarantine_stream: where its refused rows are.
        quarantine: how long refused rows are kept, by dataset id; None is for ever.
        keys: how long row keys are remembered, by stream; streams without an entry remember them for ever.
        query_log_stream: where the notes of its queries' answers are; None: its project has a dataset of that name.
    """

    quarantine_stream: str
    quarantine: Mapping[str, timedelta | None]
    keys: Mapping[str, timedelta]
    query_log_stream: str | None


def read_retentions(home: Home) -> list[Retention]:
    """Return the retention of every environment whose configuration is on disk and verifies."""
    try:
        key = load_public_key(home.snapshot_public_key.read_text(encoding="ascii"))
    except (OSError, ValueError, HeadwaterError):
        return []
    found: list[Retention] = []
    for environment_id in home.kept_environments():
        snapshot = next(_snapshots(home, environment_id, key), None)
        if snapshot is None:
            continue
        try:
            found.append(_retention(environment_id, snapshot))
        except (ValueError, LookupError, TypeError) as error:
            logger.warning("sealer.retention.unreadable", environment=environment_id, error=str(error))
    return found


def _snapshots(home: Home, environment_id: str, key: Ed25519PublicKey) -> Iterator[Snapshot]:
    """Yield the snapshots of an environment that verify, newest first."""
    numbered = [path for path in (home.snapshots / environment_id).glob("*.json") if path.stem.isdecimal()]
    for path in sorted(numbered, key=lambda path: int(path.stem), reverse=True):
        try:
            yield SignedSnapshot.parse(path.read_bytes()).verify(key)
        except (OSError, HeadwaterError) as error:
            logger.debug("sealer.snapshot.refused", path=str(path), error=str(error))


def _retention(environment_id: str, snapshot: Snapshot) -> Retention:
    quarantine: dict[str, timedelta | None] = {}
    keys: dict[str, timedelta] = {}
    for dataset in snapshot.datasets.values():
        contract = contract_from_spec(dataset.contracts[dataset.active_version])
        quarantine[dataset.id] = contract.quarantine_retention or None  # none at all means for ever too
        if contract.dedup is not None and contract.dedup.within:
            keys[stream_name(environment_id, dataset.name)] = contract.dedup.within
    # One exposure counts for an hour; a day is past any clock that is off.
    keys[stream_name(environment_id, EXPOSURES)] = timedelta(days=1)
    query_log = None if QUERY_LOG in snapshot.datasets else stream_name(environment_id, QUERY_LOG)
    return Retention(stream_name(environment_id, QUARANTINE), quarantine, keys, query_log)
