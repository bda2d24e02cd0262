"""What a blob store promises: bytes under their own sha256, whole or not at all, verified when read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Protocol


class BlobStore(Protocol):
    """Immutable bytes by lower-case sha256 hex. Safe to use from several processes."""

    def put(self, data: bytes, *, expected: str | None = None) -> str:
        """Keep ``data`` durably and return its sha256; keeping the same bytes again is no error.

        Raises:
            HeadwaterError: ``digest_mismatch`` when ``expected`` is given and differs, ``storage_exhausted``.
        """
        ...

    def put_file(self, path: Path, *, expected: str | None = None) -> str:
        """Keep a copy of a file; as ``put``, without reading it into memory."""
        ...

    def has(self, sha256: str) -> bool:
        """Return whether the blob is here; does not read it."""
        ...

    def read(self, sha256: str) -> bytes:
        """Return the bytes.

        Raises:
            HeadwaterError: ``model_unavailable`` when they are missing or damaged.
        """
        ...

    def open(self, sha256: str) -> BinaryIO:
        """Return the verified bytes as a file; raises as ``read`` does."""
        ...

    def path(self, sha256: str) -> Path:
        """Return a local file with the verified bytes, to be read only; raises as ``read`` does."""
        ...
