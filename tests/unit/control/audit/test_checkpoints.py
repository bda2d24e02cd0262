"""Checkpoints catch what a chain of hashes alone cannot: a history that was computed anew."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import DatabaseError, connection, transaction
from tests.builders.control import break_seals, events, make_environment, make_key

from headwater.control.audit import checkpoints, exporting
from headwater.control.audit.checkpoints import Archive, make_checkpoints
from headwater.control.audit.models import AuditCheckpoint, AuditEvent, AuditHead
from headwater.control.audit.record import event_hash
from headwater.control.audit.segments import folder_of
from headwater.control.audit.verify import verify_all, verify_chain
from headwater.control.orgs.models import Environment

KEY = Ed25519PrivateKey.generate()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, KEY.public_key())


@pytest.fixture
def unsealed(committed: None) -> Environment:
    """An environment in a database whose triggers somebody with all rights has dropped."""
    environment = make_environment()
    break_seals("audit_")
    return environment


def compute_anew(environment: Environment) -> None:
    """Do what somebody does who owns the database: change the second event and every hash after it."""
    previous = ""
    for event in events(environment.org):
        event.actor_label = "somebody else" if event.n == 2 else event.actor_label
        event.prev_hash = previous
        event.hash = previous = event_hash(event)
        event.save()
    AuditHead.objects.filter(org_id=environment.org_id).update(hash=previous)


def test_every_event_is_exported_once_and_signed_for(environment: Environment, archive: Archive) -> None:
    assert make_checkpoints(KEY, archive.lake) == AuditHead.objects.count()
    make_key(environment)
    assert make_checkpoints(KEY, archive.lake) == 1
    assert make_checkpoints(KEY, archive.lake) == 0
    folder = folder_of(archive.lake, environment.org_id)
    rows = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert [(row["n"], row["hash"], row["action"]) for row in rows] == [
        (event.n, event.hash, event.action) for event in events(environment.org)
    ]
    reports = verify_all(archive)
    assert all(report.is_whole for report in reports)
    assert {report.checkpoints for report in reports} == {1, 2}


def test_a_long_log_is_exported_in_bounded_segments(
    environment: Environment, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SEGMENT_EVENTS", 2)
    make_checkpoints(KEY, archive.lake)
    count = len(events(environment.org))
    assert AuditCheckpoint.objects.filter(org_id=environment.org_id).count() == (count + 1) // 2 > 1
    assert verify_chain(environment.org_id, archive).is_whole


def test_a_history_that_was_computed_anew_contradicts_its_checkpoint(unsealed: Environment, archive: Archive) -> None:
    make_checkpoints(KEY, archive.lake)
    compute_anew(unsealed)
    last = len(events(unsealed.org))
    assert verify_chain(unsealed.org_id).problem == f"event {last} is not the one that its checkpoint knows"


def test_without_its_checkpoints_a_new_history_still_contradicts_the_lake(
    unsealed: Environment, archive: Archive
) -> None:
    make_checkpoints(KEY, archive.lake)
    compute_anew(unsealed)
    AuditCheckpoint.objects.all().delete()
    assert verify_chain(unsealed.org_id).is_whole
    last = len(events(unsealed.org))
    problem = verify_chain(unsealed.org_id, archive).problem
    assert problem == f"the lake has a checkpoint at event {last} that the database contradicts"


def test_checkpoints_of_another_key_are_not_believed(unsealed: Environment, archive: Archive) -> None:
    make_checkpoints(Ed25519PrivateKey.generate(), archive.lake)
    assert "is not signed by this installation" in verify_chain(unsealed.org_id, archive).problem
    AuditCheckpoint.objects.all().delete()
    assert "in the lake is not signed by this installation" in verify_chain(unsealed.org_id, archive).problem


@pytest.mark.parametrize(("content", "fate"), [(None, "missing"), (b"PAR1", "altered")])
def test_exported_events_that_are_gone_or_altered_are_named(
    environment: Environment, archive: Archive, content: bytes | None, fate: str
) -> None:
    make_checkpoints(KEY, archive.lake)
    (segment,) = folder_of(archive.lake, environment.org_id).glob("*.parquet")
    segment.unlink()
    if content is not None:
        segment.write_bytes(content)
    assert verify_chain(environment.org_id, archive).problem.endswith(f"are {fate} in the lake")


def test_an_export_that_was_killed_before_it_was_recorded_is_no_alarm(unsealed: Environment, archive: Archive) -> None:
    make_checkpoints(KEY, archive.lake)
    AuditCheckpoint.objects.all().delete()
    make_key(unsealed)
    make_checkpoints(KEY, archive.lake)
    assert verify_chain(unsealed.org_id, archive).is_whole


def test_a_torn_statement_in_the_lake_is_an_alarm(environment: Environment, archive: Archive) -> None:
    make_checkpoints(KEY, archive.lake)
    (statement,) = folder_of(archive.lake, environment.org_id).glob("*.json")
    statement.write_bytes(b"{")
    assert "is not signed" in verify_chain(environment.org_id, archive).problem


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_auditcheckpoint SET hash = ''", "DELETE FROM audit_auditcheckpoint"]
)
def test_checkpoints_are_sealed(environment: Environment, archive: Archive, statement: str) -> None:
    make_checkpoints(KEY, archive.lake)
    with pytest.raises(DatabaseError, match="cannot be"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_exported_lines_are_the_whole_log(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PAGE", 2)
    found = list(exporting.lines(org_id=environment.org_id))
    assert [line["hash"] for line in found] == [event.hash for event in events(environment.org)]
    assert json.loads(json.dumps(found)) == found
    assert len(list(exporting.lines())) == AuditEvent.objects.count()
    later = events(environment.org)[-1].at
    assert next(exporting.lines(org_id=environment.org_id, since=later))["at"] == later.isoformat()
