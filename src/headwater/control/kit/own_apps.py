"""A project's own Django apps: the packages below ``control/`` of its directory, added to the platform.

An app ``shipping`` has what Django apps have: models with migrations, ``admin.py``, ``tasks.py``, ``actions.py``. It is
found by name what it brings: ``urls.py`` answers below ``/apps/shipping/`` to people who are signed in, ``api.py`` with
a ninja ``router`` below ``/api/v1/x/shipping/`` to callers of the control API, ``console_pages.py`` puts pages into the
console.
"""

from __future__ import annotations

import importlib
import importlib.util
import keyword
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.contrib.auth.decorators import login_required
from django.urls import URLPattern, URLResolver, include, path

from headwater.core.errors import HeadwaterError

FOLDER: Final = "control"


def own_apps(project: Path | None) -> list[str]:
    """Return the names of a project's apps, importable from now on.

    Raises:
        HeadwaterError: ``project_invalid`` for a name that cannot be imported or that another module has.
    """
    folder = project / FOLDER if project is not None else None
    if folder is None or not folder.is_dir():
        return []
    names = sorted(entry.name for entry in folder.iterdir() if (entry / "__init__.py").is_file())
    if names and str(folder) not in sys.path:
        # Last: a project's app must not stand in for a module that something else imports.
        sys.path.append(str(folder))
    for name in names:
        _check(name, folder)
    return names


def own_urls(names: Iterable[str]) -> list[URLResolver]:
    """Return the addresses of the apps, for people who are signed in unless a view is ``login_not_required``."""
    found: list[URLResolver] = []
    for name in names:
        if importlib.util.find_spec(f"{name}.urls") is not None:
            patterns = importlib.import_module(f"{name}.urls").urlpatterns
            found.append(path(f"{name}/", include((_behind_login(patterns), name))))
    return found


def own_routers(names: Iterable[str]) -> dict[str, Any]:
    """Return the ninja routers of the apps by app."""
    return {
        name: importlib.import_module(f"{name}.api").router
        for name in names
        if importlib.util.find_spec(f"{name}.api") is not None
    }


def own_tasks(names: Iterable[str]) -> list[str]:
    """Return the modules of the apps' Celery tasks."""
    return [f"{name}.tasks" for name in names if importlib.util.find_spec(f"{name}.tasks") is not None]


@contextmanager
def blaming(project: Path | None) -> Iterator[None]:
    """Turn an error of loading that comes from a project's own app into ``project_invalid`` with file and line."""
    try:
        yield
    except Exception as error:
        blamed = _blame(error, project) if project is not None else None
        if blamed is None:
            raise
        raise blamed from error


def _blame(error: Exception, project: Path) -> HeadwaterError | None:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _lies_in(frame.filename, project)]
    is_syntax = isinstance(error, SyntaxError) and _lies_in(error.filename or "", project)
    if not frames and not is_syntax:
        return None
    file, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) and is_syntax else _last(frames)
    place = Path(str(file)).relative_to(project.resolve()).as_posix()
    return HeadwaterError(
        "project_invalid",
        f"{place}, line {line}: {type(error).__name__}: {error}",
        hint="mend the app, or move its folder out of control/; the data plane serves on without control",
    )


def _check(name: str, folder: Path) -> None:
    if not name.isidentifier() or keyword.iskeyword(name):
        raise HeadwaterError("project_invalid", f"{FOLDER}/{name}: an app's folder has a name that Python can import")
    spec = importlib.util.find_spec(name)
    origin = Path(spec.origin) if spec is not None and spec.origin else None
    if origin is None or origin.resolve().parent != (folder / name).resolve():
        raise HeadwaterError(
            "project_invalid",
            f"{FOLDER}/{name}: there is another module {name!r}, at {origin or 'no file'}",
            hint="give the app another name",
        )


def _behind_login(patterns: Iterable[URLPattern | URLResolver]) -> list[URLPattern | URLResolver]:
    found = []
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            pattern.url_patterns[:] = _behind_login(pattern.url_patterns)
        elif getattr(pattern.callback, "login_required", True):
            pattern.callback = login_required(pattern.callback)
        found.append(pattern)
    return found


def _lies_in(file: str, project: Path) -> bool:
    return Path(file).is_relative_to(project.resolve() / FOLDER) or Path(file).is_relative_to(project / FOLDER)


def _last(frames: list[traceback.FrameSummary]) -> tuple[str, int | None]:
    return frames[-1].filename, frames[-1].lineno
