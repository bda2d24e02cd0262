"""Snapshots read piece by piece are what one parse would have read, and what did not change is the same object."""

from __future__ import annotations

import pytest
from tests.builders.datasets import make_contract, make_dataset
from tests.builders.flags import make_flag
from tests.builders.snapshots import make_snapshot

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import Snapshot
from headwater.core.snapshot_reader import SnapshotReader


def make(number: int, description: str = "as it was") -> Snapshot:
    datasets = {
        "orders": make_dataset(make_contract("orders"), description=description),
        "returns": make_dataset(make_contract("returns")),
    }
    return make_snapshot(number, datasets=datasets, flags={"new-home": make_flag()})


def test_it_reads_what_was_written() -> None:
    written = make(1)
    assert SnapshotReader().read(written.canonical_bytes()) == written


def test_what_did_not_change_is_the_same_object_again() -> None:
    reader = SnapshotReader()
    first = reader.read(make(1).canonical_bytes())
    second = reader.read(make(2, "changed").canonical_bytes())
    assert second.number == 2
    assert second.datasets["returns"] is first.datasets["returns"]
    assert second.datasets["orders"] is not first.datasets["orders"]
    assert second.datasets["orders"].description == "changed"


def test_members_that_a_newer_control_adds_are_passed_over() -> None:
    text = make(1).canonical_bytes().replace(b"{", b'{"telepathy":{"a":{"b":[1]}},', 1)
    assert SnapshotReader().read(text) == make(1)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"number": 1}', b'{"datasets": [1]}', make(1).canonical_bytes()[:-9], b"\xff\xfe{}"]
)
def test_what_is_no_snapshot_is_refused_and_what_was_known_stays(text: bytes) -> None:
    reader = SnapshotReader()
    first = reader.read(make(1).canonical_bytes())
    with pytest.raises(HeadwaterError, match="does not parse") as refusal:
        reader.read(text)
    assert refusal.value.code == "snapshot_invalid"
    assert reader.read(make(2).canonical_bytes()).datasets["orders"] is first.datasets["orders"]
