"""What an artifact is made of: above all whether it holds a pickle, which runs code when it is loaded.

Only beginnings are read and unpacked, so an artifact that is made to be large costs no more than another.
"""

from __future__ import annotations

import bz2
import lzma
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from headwater.core.errors import HeadwaterError

ALLOW_PICKLE: Final = "inference.allow_pickle"
_HEAD_BYTES: Final = 4_096
_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
_NPY_MAGIC: Final = b"\x93NUMPY"
_PICKLE_SUFFIXES: Final = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth")
_MAX_PROTOCOL: Final = 5
_MAX_MEMBERS: Final = 20_000
_MAX_DEPTH: Final = 2
_GZIP: Final = 31  # as zlib calls it
#: Protocols 0 and 1 have no magic; these operations begin every real one of them.
_OLD_BEGINNINGS: Final = (b"(", b"c", b"]", b"}", b"i")
_GLOBAL: Final = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
#: How much of a compressed file is unpacked; a block of bzip2 is shorter.
_PACKED_BYTES: Final = 1 << 20
_UNPACKERS: Final[tuple[tuple[bytes, Callable[[bytes], bytes]], ...]] = (
    (b"\x1f\x8b", lambda data: zlib.decompressobj(_GZIP).decompress(data, _HEAD_BYTES)),
    (b"x", lambda data: zlib.decompressobj().decompress(data, _HEAD_BYTES)),
    (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data, _HEAD_BYTES)),
    (b"\xfd7zXZ\x00", lambda data: lzma.LZMADecompressor().decompress(data, _HEAD_BYTES)),
    (b"]\x00\x00", lambda data: lzma.LZMADecompressor().decompress(data, _HEAD_BYTES)),
)


def is_zip(path: Path) -> bool:
    """Return whether a file begins as a ZIP archive does."""
    with path.open("rb") as file:
        return file.read(4) in _ZIP_MAGIC


def find_pickle(path: Path) -> str | None:
    """Return where in an artifact a pickle is, such as ``it is a pickle``; None when there is none."""
    with path.open("rb") as file:
        return _find(file, "it", 0)


def refuse_pickle(where: str) -> HeadwaterError:
    """Return the error of an artifact that holds a pickle where none may be loaded."""
    return HeadwaterError(
        "model_unavailable",
        f"the artifact holds a pickle, and a pickle runs code of whoever wrote it: {where}",
        hint=f"export it with skops or to ONNX, or let the operator set {ALLOW_PICKLE} = true",
    )


def _find(file: BinaryIO, name: str, depth: int) -> str | None:
    head = file.read(_HEAD_BYTES)
    if head[:4] in _ZIP_MAGIC:
        return _find_in_zip(file, name, depth) if depth < _MAX_DEPTH else None
    if head.startswith(_NPY_MAGIC):
        return f"{name} is an array of Python objects" if b"'|O'" in head[:256] or b"'O'" in head[:256] else None
    for magic, unpack in _UNPACKERS:
        if head.startswith(magic):
            return f"{name} is a compressed pickle" if _is_pickle(_unpacked(unpack, head, file)) else None
    return f"{name} is a pickle" if _is_pickle(head) else None


def _find_in_zip(file: BinaryIO, name: str, depth: int) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist()[:_MAX_MEMBERS]:
                inner = member.filename if name == "it" else f"{name}/{member.filename}"
                if member.filename.lower().endswith(_PICKLE_SUFFIXES):
                    return f"{inner} is a pickle"
                if member.is_dir():
                    continue
                with archive.open(member) as opened:
                    found = _find(_seekable(opened), inner, depth + 1)
                if found:
                    return found
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, zlib.error, EOFError, ValueError):
        return None  # damaged or encrypted: whoever loads it says so
    return None


def _seekable(opened: object) -> BinaryIO:
    """Return a member of an archive as the file it is: it can seek, which its type does not say."""
    assert isinstance(opened, zipfile.ZipExtFile)
    return opened  # type: ignore[return-value]


def _unpacked(unpack: Callable[[bytes], bytes], head: bytes, file: BinaryIO) -> bytes:
    """Return the beginning of what was packed; nothing if it was not packed that way."""
    try:
        return unpack(head + file.read(_PACKED_BYTES))
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError):
        return b""


def _is_pickle(head: bytes) -> bool:
    if head[:1] == b"\x80":
        return len(head) > 1 and 2 <= head[1] <= _MAX_PROTOCOL  # noqa: PLR2004 - protocols with a magic
    return head.startswith(_OLD_BEGINNINGS) and _reads_as_pickle(head)


def _reads_as_pickle(head: bytes) -> bool:
    """Return whether a text is a pickle of an old protocol that names something to import: those are dangerous."""
    names_something = False
    position = 0
    try:
        for operation, argument, at in pickletools.genops(head):
            names_something |= operation.name in ("GLOBAL", "INST") and bool(_GLOBAL.fullmatch(str(argument)))
            position = at or 0
    except ValueError:
        # Its end is beyond what was read; anything else that breaks off is some other text.
        return names_something and len(head) >= _HEAD_BYTES and position > _HEAD_BYTES // 2
    return names_something
