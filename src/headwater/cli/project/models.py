"""Reads a model's directory: its artifact, where code is packed, and the profile of its reference."""

from __future__ import annotations

import atexit
import hashlib
import importlib
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from headwater.core.errors import HeadwaterError

MANIFEST: Final = "model.yaml"
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT: Final = ("__pycache__", ".pyc", ".pyo")
_CHUNK_BYTES: Final = 1 << 20


class Unbuilt(Exception):
    """The manifest's artifact does not exist yet."""


@dataclass(frozen=True, slots=True)
class Blob:
    """A file to be put before the manifest, with its digest."""

    sha256: str
    path: Path


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What belongs to a manifest: the artifact, unless another server has it, and the profile of its reference."""

    artifact: Blob | None
    profile: Blob | None

    def digests(self) -> dict[str, str]:
        """Return the digests as an apply request names them."""
        named = {"artifact_sha256": self.artifact, "profile_sha256": self.profile}
        return {name: blob.sha256 for name, blob in named.items() if blob is not None}


def read_files(directory: Path, text: str, source: str) -> ModelFiles:
    """Find, pack and digest what a manifest names.

    Args:
        directory: where the manifest lies.
        text: the manifest.
        source: its name, for errors.

    Raises:
        Unbuilt: there is no artifact yet.
        HeadwaterError: ``project_invalid``; the manifest, the code or the reference cannot be read.
    """
    document = _plain(text)
    if document is None:
        # The manifest's own reader says best what is wrong; it brings the model runtime along, so it is asked last.
        manifest = _parse(text, source)
        document = {"artifact": manifest.artifact, "framework": manifest.framework, "reference": manifest.reference}
    artifact = None
    if document.get("framework") != "remote":
        artifact = _artifact(directory / str(document["artifact"]), source, code=document.get("framework") == "python")
    profile = _profile(directory, text, source) if document.get("reference") else None
    return ModelFiles(artifact, profile)


def pack(path: Path) -> Path:
    """Return a ZIP archive of a file of code, or of a directory: the same bytes for the same content.

    Nothing is compressed, because what a compressor makes of it differs among its versions. Hidden files and what
    Python compiled are left out.

    Raises:
        HeadwaterError: ``project_invalid`` for a link that leads out of the directory, or no file at all.
    """
    root = path if path.is_dir() else path.parent
    members = sorted(_code_files(path), key=lambda member: member.relative_to(root).as_posix())
    if not members:
        raise HeadwaterError(
            "project_invalid", f"there is no file of code in {path}", hint="put the model's class there"
        )
    target = _scratch() / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.relative_to(root).as_posix(), _EPOCH)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            with member.open("rb") as source, archive.open(info, "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink, _CHUNK_BYTES)
    return target


def _plain(text: str) -> dict[str, Any] | None:
    """Return a manifest's members if its ``artifact`` is a plain file name, or it needs none."""
    try:
        document: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    if not isinstance(document, dict):
        return None
    name = document.get("artifact")
    named = isinstance(name, str) and _FILE_NAME.fullmatch(name) is not None
    return document if named or document.get("framework") == "remote" else None


def _artifact(path: Path, source: str, *, code: bool) -> Blob:
    if code and path.exists():
        try:
            path = pack(path)
        except OSError as error:
            raise _invalid(source, "artifact", f"{path} cannot be packed: {error.strerror}") from error
    if not path.is_file():
        raise Unbuilt(source)
    with path.open("rb") as file:
        return Blob(hashlib.file_digest(file, "sha256").hexdigest(), path)


def _profile(directory: Path, text: str, source: str) -> Blob:
    """Return the profile of a sample of the training data."""
    manifest = _parse(text, source)
    path = directory / manifest.reference
    if not path.is_file():
        raise _invalid(source, "reference", f"there is no file {path.name}; write it when the model is trained")
    build = importlib.import_module("headwater.engines.monitoring.profile").build_profile
    try:
        profile = build(_read_table(path), manifest.inputs.fields, manifest.outputs).to_bytes()
    except HeadwaterError as error:
        raise _invalid(source, "reference", f"{path.name}: {error.detail}") from error
    sha256 = hashlib.sha256(profile).hexdigest()
    target = _scratch() / sha256
    target.write_bytes(profile)
    return Blob(sha256, target)


def _read_table(path: Path) -> Any:
    arrow = importlib.import_module("pyarrow")
    try:
        if path.suffix == ".csv":
            return importlib.import_module("pyarrow.csv").read_csv(path)
        return importlib.import_module("pyarrow.parquet").read_table(path)
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0][:300]
        raise HeadwaterError("project_invalid", f"it cannot be read: {reason}") from error


def _code_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    root = path.resolve()
    for member in path.rglob("*"):
        parts = member.relative_to(path).parts
        if any(part.startswith(".") or part.endswith(_LEFT_OUT) for part in parts) or not member.is_file():
            continue
        if not member.resolve().is_relative_to(root):
            raise HeadwaterError(
                "project_invalid", f"{member} is a link that leads out of {path}", hint="put the file itself there"
            )
        yield member


def _parse(text: str, source: str) -> Any:
    return importlib.import_module("headwater.engines.models.manifest").parse_manifest(text, source=source)


def _invalid(source: str, path: str, message: str) -> HeadwaterError:
    return HeadwaterError(
        "project_invalid", message, extra={"errors": [{"source": source, "path": path, "message": message}]}
    )


@cache
def _scratch() -> Path:
    """Return a folder that lasts as long as the process."""
    path = Path(tempfile.mkdtemp(prefix="headwater-models-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
