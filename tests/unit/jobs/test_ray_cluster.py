"""What is said where batch jobs are to be scored by a Ray that is not there."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tests.builders.batches import batches

from headwater.cli.doctor import examine
from headwater.core.errors import HeadwaterError
from headwater.core.home import FORMAT_VERSION, Home
from headwater.core.setting_sections import BatchSettings, JournalSettings
from headwater.core.settings import Settings
from headwater.engines.queue.protocol import State
from headwater.jobs.batch.ray_cluster import connect


@pytest.fixture
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_others(name: str, package: str | None = None) -> Any:
        return None if name == "ray" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)


def settings_of(home: Path, **batch: Any) -> Settings:
    batch_settings = BatchSettings(executor="ray", **batch)
    return Settings(home=home, journal=JournalSettings(min_free_bytes=0), batch=batch_settings)


@pytest.mark.usefixtures("_without_ray")
def test_without_ray_a_job_fails_and_says_what_to_install(tmp_path: Path) -> None:
    with batches(settings_of(tmp_path), [{"a": 1.0, "b": 2.0}]) as home:
        job = home.score()
        assert job.state is State.FAILED
        assert job.error is not None
        assert job.error["code"] == "setting_invalid"
        assert "headwater[ray]" in job.error["hint"]


@pytest.mark.usefixtures("_without_ray")
def test_the_doctor_says_so_too(tmp_path: Path) -> None:
    found = [finding for finding in _examined(settings_of(tmp_path)) if finding.subject == "batch"]
    assert [(finding.status, "headwater[ray]" in finding.cure) for finding in found] == [("fail", True)]


def test_the_doctor_knows_the_version_and_looks_whether_anybody_listens(tmp_path: Path) -> None:
    (own,) = (finding for finding in _examined(settings_of(tmp_path)) if finding.subject == "batch")
    assert own.status == "ok"
    assert "Ray 2." in own.detail
    address = f"127.0.0.1:{_free_port()}"
    (other,) = (finding for finding in _examined(settings_of(tmp_path, address=address)) if finding.subject == "batch")
    assert (other.status, address in other.detail) == ("fail", True)


def test_a_cluster_that_is_not_there_is_worth_another_try() -> None:
    with pytest.raises(HeadwaterError) as refused:
        connect(BatchSettings(executor="ray", address=f"127.0.0.1:{_free_port()}"))
    assert (refused.value.code, refused.value.retry_after_seconds) == ("services_unavailable", 30)
    assert "ray start" in str(refused.value.hint)


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":6379", "a b:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        BatchSettings(address=address)


def _examined(settings: Settings) -> list[Any]:
    home = Home(settings.home)
    home.format_file.parent.mkdir(parents=True, exist_ok=True)
    home.format_file.write_text(f"{FORMAT_VERSION}\n")
    return list(examine(settings))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
