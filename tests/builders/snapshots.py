"""Snapshots with sensible defaults."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from headwater.core.snapshot import EnvironmentSpec, KeySpec, ModelSpec, Snapshot

KEY = "hw_testkey0_abcdefghijklmnopqrstuvwxyz234567"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def make_key(
    *allowances: str, prefix: str = "testkey0", expires_at: datetime | None = None, key_id: str = "key_1"
) -> KeySpec:
    return KeySpec(
        id=key_id,
        prefix=prefix,
        principal_id="sva_1",
        principal_label="a test",
        allowances=frozenset(allowances or {"model.invoke:*", "model.read:*", "dataset.ingest:*"}),
        expires_at=expires_at,
    )


def make_snapshot(
    number: int = 1,
    *,
    environment: str = "env_1",
    keys: Mapping[str, KeySpec] | None = None,
    models: Iterable[ModelSpec] = (),
    **more: Any,
) -> Snapshot:
    """Return a snapshot; ``keys`` is by the key's text."""
    return Snapshot(
        number=number,
        compiled_at=datetime(2026, 1, 1, tzinfo=UTC),
        environment=EnvironmentSpec(id=environment, key="development", project="shop", organization="acme"),
        keys={digest(text): key for text, key in (keys if keys is not None else {KEY: make_key()}).items()},
        models={model.name: model for model in models},
        **more,
    )
