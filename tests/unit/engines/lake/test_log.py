"""When a checkpoint is worth its writing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headwater.engines.lake import log


def leave_checkpoint(table: Path, text: str) -> None:
    (table / log.LOG).mkdir()
    (table / log.LOG / "_last_checkpoint").write_text(text)


@pytest.mark.parametrize(("version", "due"), [(8, False), (9, True)])
def test_the_first_checkpoint_comes_with_the_tenth_version(tmp_path: Path, version: int, due: bool) -> None:
    assert log.last_checkpoint(tmp_path).version == -1
    assert log.is_checkpoint_due(tmp_path, version) is due


@pytest.mark.parametrize(("entries", "version", "due"), [(50, 29, False), (50, 30, True), (40_000, 59, False)])
def test_the_more_a_checkpoint_holds_the_rarer_it_is(tmp_path: Path, entries: int, version: int, due: bool) -> None:
    leave_checkpoint(tmp_path, json.dumps({"version": 20, "size": entries}))
    assert log.is_checkpoint_due(tmp_path, version) is due


def test_an_unreadable_note_of_the_last_checkpoint_is_none(tmp_path: Path) -> None:
    leave_checkpoint(tmp_path, "\0\0")
    assert log.last_checkpoint(tmp_path).version == -1
