"""Blobs in a folder: ``ab/abcdef…``, written beside and renamed, so that a name only ever means whole content."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from headwater.core.errors import HeadwaterError

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_CHUNK_BYTES: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class LocalBlobs:
    """The ``BlobStore`` of one machine."""

    def __init__(self, root: Path) -> None:
        """Keep blobs below ``root``, which is made when the first one comes."""
        self._root = root

    def put(self, data: bytes, *, expected: str | None = None) -> str:
        """Keep ``data`` durably and return its sha256."""
        return self._keep((data,), expected)

    def put_file(self, path: Path, *, expected: str | None = None) -> str:
        """Keep a copy of a file and return its sha256."""
        with path.open("rb") as file:
            return self._keep(_chunks(file), expected)

    def has(self, sha256: str) -> bool:
        """Return whether the blob is here."""
        return self._place(sha256).is_file()

    def read(self, sha256: str) -> bytes:
        """Return the verified bytes."""
        try:
            data = self._place(sha256).read_bytes()
        except OSError as error:
            raise _missing(sha256, error) from error
        _verify(sha256, hashlib.sha256(data).hexdigest())
        return data

    def open(self, sha256: str) -> BinaryIO:
        """Return the verified bytes as a file."""
        return self.path(sha256).open("rb")

    def path(self, sha256: str) -> Path:
        """Return the file of the verified bytes."""
        place = self._place(sha256)
        digest = hashlib.sha256()
        try:
            with place.open("rb") as file:
                for chunk in _chunks(file):
                    digest.update(chunk)
        except OSError as error:
            raise _missing(sha256, error) from error
        _verify(sha256, digest.hexdigest())
        return place

    def _keep(self, chunks: Iterable[bytes], expected: str | None) -> str:
        if expected is not None:
            self._place(expected)
        try:
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(prefix=".incoming-", dir=self._root)
            try:
                sha256 = _write(descriptor, chunks)
                if expected is not None and sha256 != expected:
                    raise HeadwaterError(
                        "digest_mismatch",
                        f"the content has sha256 {sha256}, not {expected}",
                        hint="it was damaged on the way, or the digest is of another file; send it again",
                    )
                self._publish(Path(temporary), sha256)
            finally:
                Path(temporary).unlink(missing_ok=True)
        except OSError as error:
            if error.errno in _FULL:
                raise HeadwaterError("storage_exhausted", f"{self._root} is full; nothing was stored") from error
            raise
        return sha256

    def _publish(self, temporary: Path, sha256: str) -> None:
        place = self._place(sha256)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        # Also over a file of that name: if that one was damaged, this heals it.
        temporary.replace(place)
        for directory in (place.parent, self._root):
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _place(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise HeadwaterError(
                "invalid_parameter", f"{sha256[:80]!r} is not a sha256", hint="give its 64 lower-case hex digits"
            )
        return self._root / sha256[:2] / sha256


def _write(descriptor: int, chunks: Iterable[bytes]) -> str:
    """Write everything durably and return its sha256."""
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _verify(expected: str, found: str) -> None:
    if found != expected:
        raise HeadwaterError(
            "model_unavailable",
            f"the artifact {expected} is damaged: its content has sha256 {found}",
            hint="push the model again",
        )


def _missing(sha256: str, error: OSError) -> HeadwaterError:
    return HeadwaterError(
        "model_unavailable", f"the artifact {sha256} cannot be read: {error.strerror}", hint="push the model again"
    )
