"""Reads a project directory: texts as they are, artifacts by their digest. Control judges what the texts say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from headwater.cli.project.models import MANIFEST, Unbuilt, read_files
from headwater.cli.project.payload import Project
from headwater.core.errors import HeadwaterError

#: What a project directory has; one of them is enough.
_MARKS: Final = (
    "headwater.toml", "dashboards", "datasets", "endpoints", "features", "flags", "models", "policies", "reviews",
)  # fmt: skip
_Errors = list[dict[str, str]]


def collect(directory: Path) -> Project:
    """Read every folder of declared resources, and ``models/*/model.yaml`` with their artifacts.

    Raises:
        HeadwaterError: ``project_invalid`` listing every file that cannot be read.
    """
    if not directory.is_dir():
        raise HeadwaterError(
            "project_invalid", f"{directory} is not a directory", hint="name the project's directory, or use --project"
        )
    project = Project()
    errors: _Errors = []
    _add_texts(project, errors, directory, "dashboards", ("*.yaml", "*.yml"))
    _add_texts(project, errors, directory, "datasets", ("*.yaml", "*.yml"))
    _add_texts(project, errors, directory, "endpoints", ("*.sql",))
    _add_texts(project, errors, directory, "features", ("*.yaml", "*.yml"))
    _add_texts(project, errors, directory, "flags", ("*.yaml", "*.yml"))
    _add_texts(project, errors, directory, "policies", ("*.yaml", "*.yml"))
    _add_texts(project, errors, directory, "reviews", ("*.yaml", "*.yml"))
    for path in sorted(directory.glob(f"models/*/{MANIFEST}")):
        _add_model(project, errors, directory, path)
    _raise_if(errors)
    return project


def require_project(directory: Path) -> None:
    """Raise ``project_invalid`` for a directory that holds nothing of a project: surely the wrong one."""
    if directory.is_dir() and not any(directory.joinpath(mark).exists() for mark in _MARKS):
        raise HeadwaterError(
            "project_invalid",
            f"{directory.resolve()} is no project: it has none of {', '.join(_MARKS)}",
            hint="go to the project's directory, or name it as the argument or with --project",
        )


def collect_model(directory: Path) -> Project:
    """Read one model's directory.

    Raises:
        HeadwaterError: ``project_invalid`` when the manifest or the artifact is missing or cannot be read.
    """
    project = Project()
    errors: _Errors = []
    path = directory / MANIFEST
    if not path.is_file():
        raise HeadwaterError("project_invalid", f"there is no {path}", hint="a model directory has a model.yaml")
    _add_model(project, errors, directory.parent, path)
    require_artifacts(project)
    _raise_if(errors)
    return project


def require_artifacts(project: Project) -> None:
    """Raise ``project_invalid`` when a model's artifact does not exist."""
    _raise_if(
        [
            {
                "source": source,
                "path": "artifact",
                "message": "its file does not exist; train the model, or mend the name",
            }
            for source in project.unbuilt
        ]
    )


def _add_texts(project: Project, errors: _Errors, directory: Path, kind: str, patterns: Iterable[str]) -> None:
    paths = [path for pattern in patterns for path in directory.joinpath(kind).glob(pattern)]
    for path in sorted(paths):
        text = _read(path, directory, errors)
        if text is not None:
            project.resources[kind].append({"source": _name(path, directory), "text": text})


def _add_model(project: Project, errors: _Errors, directory: Path, path: Path) -> None:
    source = _name(path, directory)
    text = _read(path, directory, errors)
    if text is None:
        return
    try:
        files = read_files(path.parent, text, source)
    except Unbuilt:
        project.unbuilt.append(source)
    except HeadwaterError as error:
        errors.extend(error.extra.get("errors") or [{"source": source, "path": "", "message": error.detail}])
    else:
        project.artifacts |= {blob.sha256: blob.path for blob in (files.artifact, files.profile) if blob is not None}
        project.resources["models"].append({"source": source, "text": text, **files.digests()})


def _read(path: Path, directory: Path, errors: _Errors) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        errors.append({"source": _name(path, directory), "path": "", "message": f"it cannot be read: {reason}"})
        return None


def _name(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()


def _raise_if(errors: _Errors) -> None:
    if errors:
        count = len(errors)
        raise HeadwaterError(
            "project_invalid",
            f"{count} {'error' if count == 1 else 'errors'} in the project; nothing was changed",
            hint="mend every file listed and apply again",
            extra={"errors": errors},
        )
