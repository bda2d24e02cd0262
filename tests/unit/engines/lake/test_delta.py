"""What is particular to Delta tables on a local disk: power loss, stale handles, races, the log's upkeep."""

from __future__ import annotations

import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import LakeSettings
from headwater.core.settings import Settings
from headwater.engines.lake import compaction, delta, files, log, open_lake
from headwater.engines.lake.delta import DeltaTableStore
from headwater.engines.lake.protocol import AppTransaction

STREAM = "env/x"


@pytest.fixture
def lake(tmp_path: Path) -> DeltaTableStore:
    return DeltaTableStore(tmp_path, LakeSettings(compact_every_commits=5))


def append(lake: DeltaTableStore, n: int) -> int:
    return lake.append(STREAM, pa.table({"id": [n]}), AppTransaction("a", n))


def count(lake: DeltaTableStore) -> int:
    state = lake.state(STREAM)
    assert state is not None
    return state.rows


def table_log(tmp_path: Path) -> Path:
    return tmp_path / STREAM / log.LOG


class TestPowerLoss:
    @pytest.mark.parametrize("left", [b"", b"\x00" * 300, b'{"commitInfo": {"timest'])
    def test_a_last_commit_that_never_reached_the_disk_is_cleared_away(
        self, lake: DeltaTableStore, tmp_path: Path, left: bytes
    ) -> None:
        append(lake, 1)
        append(lake, 2)
        version = append(lake, 3)
        log.commit_file(tmp_path / STREAM, version).write_bytes(left)
        again = DeltaTableStore(tmp_path)
        assert again.committed(STREAM, "a") == 2
        append(again, 3)
        assert count(again) == 3
        assert list(table_log(tmp_path).glob("_broken_*"))

    def test_an_append_makes_commits_of_upkeep_durable_that_are_not_yet(
        self, lake: DeltaTableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(1, 12):
            append(lake, n)

        def dies(*_arguments: object) -> None:
            raise RuntimeError("here the process ended")

        with monkeypatch.context() as patch:
            patch.setattr(log, "sync_commits", dies)
            with pytest.raises(RuntimeError):
                lake.maintain(STREAM)
        synced: list[Path] = []
        monkeypatch.setattr(log, "sync", synced.append)
        version = append(lake, 12)
        commits = [log.commit_file(tmp_path / STREAM, number) for number in (version - 1, version)]
        assert b'"remove"' in commits[0].read_bytes()
        assert synced[-3:] == [*commits, table_log(tmp_path)]

    @pytest.mark.parametrize("left", [b"", b"\x00" * 5_000])
    def test_a_checkpoint_that_never_reached_the_disk_is_cleared_away(
        self, lake: DeltaTableStore, tmp_path: Path, left: bytes
    ) -> None:
        for n in range(1, 25):
            append(lake, n)
            lake.maintain(STREAM)
        newest = max(table_log(tmp_path).glob("*.checkpoint.parquet"))
        newest.write_bytes(left)
        (table_log(tmp_path) / "_last_checkpoint").write_bytes(left)
        again = DeltaTableStore(tmp_path)
        append(again, 25)
        assert count(again) == 25

    def test_every_commit_is_synced_before_it_is_acknowledged(
        self, lake: DeltaTableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[str] = []
        for module in (files, log, delta):
            monkeypatch.setattr(module, "sync", lambda path: synced.append(path.name))
        version = append(lake, 1)
        assert synced[-2:] == [f"{version:020}.json", log.LOG]
        assert f"{0:020}.json" in synced
        synced.clear()
        append(DeltaTableStore(tmp_path), 1)
        assert synced[-2:] == [f"{version:020}.json", log.LOG], "its writer may have died before the sync"


class TestFullDisk:
    def test_nothing_is_committed_and_the_same_append_works_later(
        self, lake: DeltaTableStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        append(lake, 1)
        with monkeypatch.context() as patch:

            def full(*_arguments: Any) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr(files, "sync", full)
            with pytest.raises(HeadwaterError) as caught:
                append(lake, 2)
        assert caught.value.code == "storage_exhausted"
        assert lake.committed(STREAM, "a") == 1
        append(lake, 2)
        assert count(lake) == 2


class TestRaces:
    def test_of_many_writers_of_one_segment_one_writes_it(self, tmp_path: Path) -> None:
        stores = [DeltaTableStore(tmp_path) for _ in range(4)]

        def write(store: DeltaTableStore) -> None:
            for n in range(1, 9):
                append(store, n)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, stores))
        assert count(stores[0]) == 8
        assert len(DeltaTable(tmp_path / STREAM).file_uris()) == 8

    def test_appends_go_on_while_files_are_compacted(self, lake: DeltaTableStore, tmp_path: Path) -> None:
        other = DeltaTableStore(tmp_path, LakeSettings(compact_every_commits=5))
        with ThreadPoolExecutor(1) as pool:
            appended = pool.submit(lambda: [append(lake, n) for n in range(1, 61)])
            compacted = 0
            while not appended.done():
                compacted += other.maintain(STREAM).compacted
            appended.result()
        assert compacted
        assert count(lake) == 60

    def test_rows_that_are_large_in_memory_are_rewritten_a_few_at_a_time(
        self, lake: DeltaTableStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compaction, "_GROUP_BYTES", 3 << 20)
        for n in range(1, 12):
            lake.append(STREAM, pa.table({"text": ["x" * (1 << 20)]}), AppTransaction("a", n))
        assert lake.maintain(STREAM).compacted == 11
        state = lake.state(STREAM)
        assert state is not None
        (path,) = state.files
        assert pq.ParquetFile(path).metadata.num_row_groups == 4
        assert state.rows == pq.ParquetFile(path).metadata.num_rows == 11

    def test_two_processes_may_add_columns_at_once(self, tmp_path: Path) -> None:
        stores = [DeltaTableStore(tmp_path) for _ in range(3)]

        def write(n: int) -> None:
            rows = pa.table({"id": [n], f"c{n}": ["x"]})
            stores[n].append(STREAM, rows, AppTransaction(f"w{n}", 1))

        append(stores[0], 1)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(write, range(3)))
        state = stores[0].state(STREAM)
        assert state is not None
        assert sorted(state.schema.names) == ["c0", "c1", "c2", "id"]
        assert state.rows == 4


class TestUpkeep:
    def test_old_logs_and_orphans_are_removed_and_the_table_stays(self, lake: DeltaTableStore, tmp_path: Path) -> None:
        for n in range(1, 12):
            append(lake, n)
        reader = DeltaTableStore(tmp_path)
        assert count(reader) == 11
        orphan, fresh = tmp_path / STREAM / "part-orphan.parquet", tmp_path / STREAM / "part-fresh.parquet"
        for path in (orphan, fresh):
            path.write_bytes(b"left by a writer that died")
        assert lake.maintain(STREAM).checkpointed
        long_ago = time.time() - 3 * 86_400
        for path in (orphan, *table_log(tmp_path).iterdir()):
            os.utime(path, (long_ago, long_ago))
        for n in range(12, 35):
            append(lake, n)
            if lake.maintain(STREAM).vacuumed:
                break
        assert not orphan.exists()
        assert fresh.exists(), "its writer may be about to commit it"
        assert not log.commit_file(tmp_path / STREAM, 3).exists()
        expected = count(lake)
        assert count(reader) == expected, "a handle older than the log must find its way"
        assert count(DeltaTableStore(tmp_path)) == expected
        assert lake.committed(STREAM, "a") == expected

    def test_a_compaction_that_fails_leaves_no_files(
        self, lake: DeltaTableStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(1, 12):
            append(lake, n)
        before = set((tmp_path / STREAM).iterdir())
        with monkeypatch.context() as patch:

            def full(*_arguments: Any, **_keywords: Any) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            patch.setattr("headwater.engines.lake.compaction.sync", full)
            with pytest.raises(HeadwaterError) as caught:
                lake.maintain(STREAM)
        assert caught.value.code == "storage_exhausted"
        assert set((tmp_path / STREAM).iterdir()) == before
        assert lake.maintain(STREAM).compacted == 11


class TestOpening:
    def test_it_lies_in_the_home_by_default(self, tmp_path: Path) -> None:
        open_lake(Settings(home=tmp_path)).append(STREAM, pa.table({"id": [1]}), AppTransaction("a", 1))
        assert (tmp_path / "lake" / STREAM / log.LOG).is_dir()

    @pytest.mark.parametrize("prefix", ["", "file://"])
    def test_a_path_names_another_place(self, tmp_path: Path, prefix: str) -> None:
        store = open_lake(Settings(home=tmp_path, lake=LakeSettings(url=f"{prefix}{tmp_path}/other")))
        store.append(STREAM, pa.table({"id": [1]}), AppTransaction("a", 1))
        assert (tmp_path / "other" / STREAM).is_dir()

    def test_a_kind_of_storage_that_nothing_serves_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(HeadwaterError, match="s3://bucket") as caught:
            open_lake(Settings(home=tmp_path, lake=LakeSettings(url="s3://bucket/lake")))
        assert caught.value.code == "setting_invalid"


class TestLoss:
    def test_a_table_that_vanished_is_neither_empty_nor_begun_anew(self, lake: DeltaTableStore, tmp_path: Path) -> None:
        assert (lake.state(STREAM), lake.lost()) == (None, [])
        append(lake, 1)
        (tmp_path / "env").rename(tmp_path / "away")
        assert lake.lost() == [STREAM]
        for ask in (lambda: lake.state(STREAM), lambda: lake.committed(STREAM, "a"), lambda: append(lake, 2)):
            with pytest.raises(HeadwaterError, match="the table of x is gone") as caught:
                ask()
            assert caught.value.code == "storage_unavailable"
        assert not (tmp_path / "env").exists()
        (tmp_path / "away").rename(tmp_path / "env")
        append(lake, 2)
        assert (count(lake), lake.lost()) == (2, [])

    def test_a_log_without_commits_is_a_lost_table(self, lake: DeltaTableStore, tmp_path: Path) -> None:
        append(lake, 1)
        for file in table_log(tmp_path).iterdir():
            file.unlink()
        with pytest.raises(HeadwaterError, match="is gone"):
            lake.state(STREAM)

    def test_a_table_that_cannot_be_looked_at_is_said_to_be_so(self, lake: DeltaTableStore, tmp_path: Path) -> None:
        append(lake, 1)
        (tmp_path / "env").rename(tmp_path / "away")
        (tmp_path / "env").write_text("no directory")
        with pytest.raises(HeadwaterError, match="cannot be read") as caught:
            lake.state(STREAM)
        assert caught.value.code == "storage_unavailable"
        assert lake.lost() == [STREAM]
