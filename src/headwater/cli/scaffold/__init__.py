"""New project directories: templates by shape, written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import SLUG

_SUFFIX: Final = ".tmpl"  # so that nothing takes a template for the file that it becomes
_MORE: Final = "MORE.md"
_README: Final = "README.md"


class Shape(StrEnum):
    """How a team starts: from the API, from the platform, or from both."""

    API = "api"
    PLATFORM = "platform"
    HYBRID = "hybrid"


_PARTS: Final = {
    Shape.API: ("shared", "api"),
    Shape.PLATFORM: ("shared", "platform"),
    Shape.HYBRID: ("shared", "api", "platform"),
}


def write_project(directory: Path, shape: Shape) -> list[str]:
    """Write a new project directory, named after its last part; return its files.

    Raises:
        HeadwaterError: ``project_invalid`` when the name is no slug, the directory has something in it or cannot be
            written. Nothing is left behind then.
    """
    name = directory.name
    if not re.fullmatch(SLUG, name):
        raise HeadwaterError(
            "project_invalid",
            f"{name!r} cannot be a project's name",
            hint="begin with a lower-case letter and go on with letters, digits, - and _; 63 at most",
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise HeadwaterError("project_invalid", f"{directory} is there already", hint="choose another name")
    files = _render(name, shape)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{name}-") as folder:
            made = Path(folder) / name
            for place, text in files.items():
                path = made / place
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if directory.exists():
                directory.rmdir()
            shutil.move(os.fspath(made), os.fspath(directory))
    except OSError as error:
        raise HeadwaterError(
            "project_invalid", f"{directory} cannot be written: {error.strerror}", hint="choose another place"
        ) from error
    return sorted(files)


def _render(name: str, shape: Shape) -> dict[str, str]:
    """Return the texts of a new project by place."""
    files: dict[str, str] = {}
    more = ""
    for part in _PARTS[shape]:
        root = Path(__file__).parent / part
        for path in sorted(root.rglob(f"*{_SUFFIX}")):
            place = path.relative_to(root).as_posix().removesuffix(_SUFFIX)
            text = path.read_text(encoding="utf-8").replace("__NAME__", name)
            if place == _MORE:
                more += text
            else:
                files[place] = text
    files[_README] = files[_README].replace("__MORE__\n", more)
    return files
