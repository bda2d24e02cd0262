"""The charts' JavaScript: Vega, Vega-Lite and Vega-Embed in one file, made of the installed package when first needed.

Its name tells which release it was made from, so browsers may keep it for ever and an upgrade is a new address.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

from headwater.control import configuration
from headwater.control.monitoring.drawing import RENDERER
from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_uuid
from headwater.engines.charts.renderer import ChartFailed

PACKAGE: Final = "vl-convert-python"
_turn: Final = threading.Lock()


@cache
def bundle_name() -> str:
    """Return the file's name."""
    made_from = f"{PACKAGE} {version(PACKAGE)}"
    return f"vega-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.js"


def bundle() -> bytes:
    """Return the script, gzipped.

    Raises:
        HeadwaterError: ``services_unavailable`` where it cannot be made now.
    """
    found = _kept()
    if found is not None:
        return found
    with _turn:
        return _kept() or _made()


@cache
def _memory() -> dict[str, bytes]:
    return {}


def _kept() -> bytes | None:
    name = bundle_name()
    if name not in _memory():
        with suppress(OSError, EOFError, gzip.BadGzipFile):
            content = _path().read_bytes()
            # Read to its end once: a file that was cut off would break every chart until somebody deletes it.
            gzip.decompress(content)
            _memory()[name] = content
    return _memory().get(name)


def _made() -> bytes:
    try:
        script = RENDERER.script()
    except ChartFailed as error:
        raise HeadwaterError(
            "services_unavailable", f"the charts' script cannot be made: {error}", hint="load the page again"
        ) from error
    content = gzip.compress(script.encode(), mtime=0)
    _memory()[bundle_name()] = content
    # Kept for the next start; where there is no room it is made again.
    with suppress(OSError):
        _write(_path(), content)
    return content


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{new_uuid().hex}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _path() -> Path:
    return configuration.home().root / "run" / "assets" / f"{bundle_name()}.gz"
