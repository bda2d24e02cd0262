"""Loading a project's own routes: one file at a time, so that a broken one takes no other with it."""

from __future__ import annotations

import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Final

from fastapi import APIRouter

FOLDER: Final = "services"
#: The package that a project's files are modules of, so that ``from .shared import x`` works among them.
PACKAGE: Final = "headwater_project_services"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class RouteFile:
    """One file: its routers, or why it has none. ``name`` is part of its routes' paths."""

    name: str
    router: APIRouter | None = None
    public: APIRouter | None = None
    fault: str = ""


def load_route_files(project: Path | None) -> list[RouteFile]:
    """Return the route files of a project directory by name; files that begin with an underscore are their helpers."""
    folder = project / FOLDER if project is not None else None
    if folder is None or not folder.is_dir():
        return []
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    for stale in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[stale]
    sys.modules[PACKAGE] = package
    return [_load(path) for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]


def _load(path: Path) -> RouteFile:
    name = path.stem
    place = f"{FOLDER}/{path.name}"
    if not _NAME.fullmatch(name):
        return RouteFile(
            name, fault=f"{place}: a file of routes is named in lower-case letters, digits and underscores"
        )
    try:
        module = _run(name, path)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a project's file does, the others are served
        return RouteFile(name, fault=f"{_where(error, path, place)}: {type(error).__name__}: {error}")
    found = {attribute: getattr(module, attribute, None) for attribute in ("router", "public_router")}
    for attribute, router in found.items():
        if router is not None and not isinstance(router, APIRouter):
            return RouteFile(name, fault=f"{place}: {attribute} is no fastapi.APIRouter")
    if not any(found.values()):
        return RouteFile(name, fault=f"{place}: it has neither a router nor a public_router")
    return RouteFile(name, found["router"], found["public_router"])


def _run(name: str, path: Path) -> ModuleType:
    qualified = f"{PACKAGE}.{name}"
    spec = importlib.util.spec_from_file_location(qualified, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[qualified]
        raise
    return module


def _where(error: BaseException, path: Path, place: str) -> str:
    """Return the file with the line that went wrong, as far as it lies in the project."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{place}, line {error.lineno}"
    lines = [frame.lineno for frame in _frames(error) if frame.filename == str(path)]
    return f"{place}, line {lines[-1]}" if lines else place


def _frames(error: BaseException) -> Iterator[traceback.FrameSummary]:
    return iter(traceback.extract_tb(error.__traceback__))
