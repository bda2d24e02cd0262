from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import ArtifactsSettings
from headwater.core.settings import Settings
from headwater.engines.blobs import open_blobs
from headwater.engines.blobs.local import LocalBlobs
from headwater.engines.blobs.protocol import BlobStore

DATA = b"the weights of a model" * 100_000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return LocalBlobs(tmp_path / "artifacts")


def files(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_what_was_put_is_read_under_its_digest(blobs: BlobStore) -> None:
    assert not blobs.has(SHA256)
    assert blobs.put(DATA) == SHA256
    assert blobs.has(SHA256)
    assert blobs.read(SHA256) == DATA
    assert blobs.path(SHA256).read_bytes() == DATA
    with blobs.open(SHA256) as file:
        assert file.read(9) == DATA[:9]


def test_a_file_is_kept_like_its_bytes_and_twice_is_once(blobs: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    source.write_bytes(DATA)
    assert blobs.put_file(source, expected=SHA256) == SHA256 == blobs.put(DATA)
    assert files(tmp_path / "artifacts") == [SHA256]
    assert blobs.path(SHA256).stat().st_mode & 0o077 == 0


def test_another_digest_than_expected_stores_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(HeadwaterError) as refused:
        blobs.put(DATA, expected="0" * 64)
    assert refused.value.code == "digest_mismatch"
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", [b"", DATA[:-1], DATA + b"x"])
def test_a_damaged_blob_is_refused_and_healed_by_pushing_again(blobs: BlobStore, damage: bytes) -> None:
    blobs.put(DATA)
    blobs.path(SHA256).write_bytes(damage)
    for reading in (blobs.read, blobs.path, blobs.open):
        with pytest.raises(HeadwaterError, match=r"damaged") as refused:
            reading(SHA256)
        assert refused.value.hint == "push the model again"
    blobs.put(DATA)
    assert blobs.read(SHA256) == DATA


def test_a_missing_blob_is_named(blobs: BlobStore) -> None:
    with pytest.raises(HeadwaterError, match=SHA256) as refused:
        blobs.read(SHA256)
    assert refused.value.code == "model_unavailable"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", SHA256.upper(), SHA256[:-1], SHA256 + "\n"])
def test_what_is_no_digest_never_becomes_a_path(blobs: BlobStore, name: str) -> None:
    for reading in (blobs.has, blobs.read, blobs.path):
        with pytest.raises(HeadwaterError) as refused:
            reading(name)
        assert refused.value.code == "invalid_parameter"


def test_a_full_disk_stores_nothing(blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HeadwaterError) as refused:
        blobs.put(DATA)
    assert refused.value.code == "storage_exhausted"
    assert files(tmp_path) == []


def test_the_settings_choose_the_store(tmp_path: Path) -> None:
    assert open_blobs(Settings(home=tmp_path)).put(b"x") in files(tmp_path / "artifacts")
    elsewhere = Settings(home=tmp_path, artifacts=ArtifactsSettings(url=f"file://{tmp_path}/else"))
    assert open_blobs(elsewhere).put(b"x") in files(tmp_path / "else")
    with pytest.raises(HeadwaterError, match=r"artifacts\.url"):
        open_blobs(Settings(home=tmp_path, artifacts=ArtifactsSettings(url="s3://bucket")))
