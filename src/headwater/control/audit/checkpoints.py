"""Checkpoints: signed statements of how far each chain reached, with its events exported to the lake.

A chain of hashes shows a change within it, but whoever can rewrite the whole table can compute it anew. A checkpoint is
signed with the installation's key and lies in two places, so such a rewriting contradicts it: ``verify`` says where.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.db import IntegrityError, transaction
from django.utils import timezone

from headwater.control import configuration
from headwater.control.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from headwater.control.audit.segments import (
    folder_of,
    read_statements,
    segment_digest,
    write_segment,
    write_statement,
)
from headwater.control.kit.plain import canonical
from headwater.core.ids import format_id, new_uuid
from headwater.core.sealed_snapshot import load_public_key

SEGMENT_EVENTS: Final = 20_000
#: Part of what is signed, so that no signature over anything else can stand for a checkpoint.
_DOMAIN: Final = "headwater.audit.checkpoint.v1"


@dataclass(frozen=True, slots=True)
class Archive:
    """Where checkpoints are held against: the lake's folder and the key that signed them."""

    lake: Path
    public_key: Ed25519PublicKey


def current_archive() -> Archive | None:
    """Return this installation's archive; None before its first start."""
    try:
        text = configuration.home().snapshot_public_key.read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return Archive(configuration.current().lake_folder, load_public_key(text))


def make_checkpoints(key: Ed25519PrivateKey, lake: Path) -> int:
    """Export what every chain has gained and sign how far it reaches; return how many checkpoints that made.

    Killed anywhere, it leaves at most files that nothing refers to; run twice at once, one of the two gives way.
    """
    chains = AuditHead.objects.values_list("org_id", flat=True)
    return sum(1 for org_id in chains for _ in _extend(org_id, key, folder_of(lake, org_id)))


def contradiction(org_id: uuid.UUID, archive: Archive) -> str:
    """Return the first checkpoint of a chain that contradicts the database or the lake, in words; empty: none does."""
    folder = folder_of(archive.lake, org_id)
    known = list(AuditCheckpoint.objects.filter(org_id=org_id).order_by("n"))
    return _recorded_contradiction(known, folder, archive.public_key) or _lake_contradiction(
        org_id, {(checkpoint.first, checkpoint.n): checkpoint for checkpoint in known}, folder, archive.public_key
    )


def marks(org_id: uuid.UUID) -> dict[int, str]:
    """Return the hashes that a chain must have, by number of event."""
    return dict(AuditCheckpoint.objects.filter(org_id=org_id).values_list("n", "hash"))


def statement_of(checkpoint: AuditCheckpoint) -> dict[str, Any]:
    """Return what is signed: plain, with the chain named as everybody sees it."""
    return {
        "kind": _DOMAIN,
        "chain": format_id("org", checkpoint.org_id),
        "first": checkpoint.first,
        "n": checkpoint.n,
        "hash": checkpoint.hash,
        "at": checkpoint.at.astimezone(UTC).isoformat(),
        "segment_sha256": checkpoint.segment_sha256,
    }


def _recorded_contradiction(known: list[AuditCheckpoint], folder: Path, key: Ed25519PublicKey) -> str:
    """Hold the database's checkpoints against each other, the key and the exported events."""
    first = 1
    for checkpoint in known:
        if checkpoint.first != first:
            return f"the checkpoint of event {first} is missing"
        if not _is_signed(key, statement_of(checkpoint), checkpoint.signature):
            return f"the checkpoint at event {checkpoint.n} is not signed by this installation"
        digest = segment_digest(folder, first, checkpoint.n)
        if digest != checkpoint.segment_sha256:
            fate = "missing" if digest is None else "altered"
            return f"the exported events {first} to {checkpoint.n} are {fate} in the lake"
        first = checkpoint.n + 1
    return ""


def _lake_contradiction(
    org_id: uuid.UUID, known: Mapping[tuple[int, int], AuditCheckpoint], folder: Path, key: Ed25519PublicKey
) -> str:
    """Hold the lake's checkpoints against the database: it may lack one, but never the events one speaks of."""
    for statement in read_statements(folder):
        held = statement.get("statement", {})
        if not _is_signed(key, held, statement.get("signature")):
            return "a checkpoint in the lake is not signed by this installation"
        mine = known.get((held["first"], held["n"]))
        if mine is None and not AuditEvent.objects.filter(org_id=org_id, n=held["n"], hash=held["hash"]).exists():
            return f"the lake has a checkpoint at event {held['n']} that the database contradicts"
        if mine is not None and mine.hash != held["hash"]:
            return f"the checkpoint at event {mine.n} differs from the one in the lake"
    return ""


def _extend(org_id: uuid.UUID, key: Ed25519PrivateKey, folder: Path) -> Iterator[AuditCheckpoint]:
    last = AuditCheckpoint.objects.filter(org_id=org_id).order_by("-n").values_list("n", flat=True).first() or 0
    while events := list(AuditEvent.objects.filter(org_id=org_id, n__gt=last).order_by("n")[:SEGMENT_EVENTS]):
        checkpoint = AuditCheckpoint(
            id=new_uuid(),
            org_id=org_id,
            first=events[0].n,
            n=events[-1].n,
            hash=events[-1].hash,
            at=timezone.now(),
            segment_sha256=write_segment(folder, events),
        )
        statement = statement_of(checkpoint)
        checkpoint.signature = base64.b64encode(key.sign(canonical(statement).encode())).decode()
        write_statement(
            folder, checkpoint.first, checkpoint.n, {"statement": statement, "signature": checkpoint.signature}
        )
        try:
            with transaction.atomic():
                checkpoint.save(force_insert=True)
        except IntegrityError:
            return
        yield checkpoint
        last = checkpoint.n


def _is_signed(key: Ed25519PublicKey, statement: Any, signature: Any) -> bool:
    if not isinstance(statement, dict) or not isinstance(signature, str):
        return False
    try:
        key.verify(base64.b64decode(signature), canonical(statement).encode())
    except (InvalidSignature, ValueError):
        return False
    return True
