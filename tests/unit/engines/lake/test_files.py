"""Data files: their statistics, their way to the disk, and a disk that is full."""

from __future__ import annotations

import errno
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.exceptions import DeltaError

from headwater.core.errors import HeadwaterError
from headwater.engines.lake import files


def test_a_file_is_synced_before_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync", synced.append)
    file = files.write_data_file(tmp_path, pa.table({"a": [1, 2]}))
    assert synced == [tmp_path / file.name, tmp_path]
    assert pq.read_table(tmp_path / file.name).to_pydict() == {"a": [1, 2]}
    assert file.size == (tmp_path / file.name).stat().st_size


def test_a_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_data_file(tmp_path, pa.table({"a": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_statistics_are_exact_or_absent() -> None:
    rows = pa.table(
        {
            "n": pa.array([3, None, -1]),
            "f": [1.0, float("nan"), 2.0],
            "t": ["b", "a", None],
            "at": pa.array([datetime(2013, 1, 1, tzinfo=UTC)] * 3, pa.timestamp("us", "UTC")),
            "far": pa.array([2**62, 0, 0], pa.timestamp("us", "UTC")),
            "dec": pa.array([Decimal("1.1")] * 3, pa.decimal128(38, 9)),
            "none": pa.nulls(3, pa.int64()),
            "l": [[1], None, []],
        }
    )
    found = json.loads(files.statistics(rows))
    assert found["numRecords"] == 3
    assert found["nullCount"] == {"n": 1, "f": 0, "t": 1, "at": 0, "far": 0, "dec": 0, "none": 3}
    assert found["minValues"] == {"n": -1, "at": "2013-01-01T00:00:00.000000Z"}
    assert found["maxValues"] == {"n": 3, "at": "2013-01-01T00:00:00.000000Z"}


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        DeltaError("Generic LocalFileSystem error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(HeadwaterError) as caught, files.disk_full_as_exhausted(tmp_path):
        raise error
    assert caught.value.code == "storage_exhausted"
    assert caught.value.hint


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), files.disk_full_as_exhausted(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")
