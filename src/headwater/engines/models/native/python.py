"""Python classes from a zipped directory: ``Model(directory)``, then ``predict(columns)`` for every run."""

from __future__ import annotations

import importlib
import inspect
import shutil
import stat
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field, LogicalType
from headwater.engines.models.isolated.job import Job
from headwater.engines.models.native.protocol import first_line, misfit, unreadable

DEFAULT_CLASS: Final = "Model"
MAX_UNPACKED_BYTES: Final = 2 << 30
MAX_FILES: Final = 20_000
_INT64_LIMIT: Final = float(2**63)
_FLOAT64_MAX: Final = float(np.finfo(np.float64).max)


class PythonModel:
    """A ``NativeModel`` for an instance of somebody's class.

    ``predict`` gets an array for each input: float64 for numbers and for integers that may be absent (NaN), int64 for
    other integers, bool or objects for booleans, objects for texts (None where absent).
    """

    default_source: str | None = None

    def __init__(self, job: Job) -> None:
        """Unpack, import and construct; raises ``HeadwaterError`` telling which of these failed."""
        self._fields = job.fields()
        self._names = [field.name for field in self._fields]
        directory = Path.cwd() / "code"
        _unpack(Path(job.artifact), directory)
        sys.path.insert(0, str(directory))
        importlib.invalidate_caches()
        self._predict = _construct(_find_class(directory, job.options.get("class")), directory)
        self.dtype = np.dtype(np.float64)
        self.takes_matrix = all(field.type is LogicalType.NUMBER for field in self._fields)
        self.limits = tuple(
            _INT64_LIMIT if field.type is LogicalType.INTEGER else _FLOAT64_MAX for field in self._fields
        )

    def want(self, sources: Sequence[str]) -> None:
        """Take any: only its answers show what the class calls them."""

    def run_matrix(self, matrix: NDArray[Any]) -> Mapping[str, Any]:
        """Return what the class answers."""
        columns = np.ascontiguousarray(matrix.T)
        return self._ask(dict(zip(self._names, columns, strict=True)))

    def run_columns(self, columns: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
        """Return what the class answers."""
        return self._ask(
            {field.name: _typed(field, values) for field, values in zip(self._fields, columns, strict=True)}
        )

    def _ask(self, columns: dict[str, NDArray[Any]]) -> Mapping[str, Any]:
        answers: Mapping[str, Any] = self._predict(columns)
        return answers


def _unpack(archive: Path, directory: Path) -> None:
    """Unpack regular files below ``directory``; raises for anything that would land elsewhere, or is too much."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if len(members) > MAX_FILES or sum(member.file_size for member in members) > MAX_UNPACKED_BYTES:
                raise unreadable(
                    f"unpacked it has more than {MAX_FILES:,} files or {MAX_UNPACKED_BYTES >> 30} GiB",
                    "make it smaller",
                )
            for member in members:
                _check_member(member)
                target = directory / member.filename
                if member.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise unreadable(f"it is no sound ZIP archive of code: {first_line(error)}", "push the model again") from error


def _check_member(member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    parts = Path(member.filename).parts
    if Path(member.filename).is_absolute() or ".." in parts or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise unreadable(f"its member {member.filename[:100]!r} is no plain file below it", "push the model again")


def _find_class(directory: Path, named: Any) -> type[Any]:
    modules = sorted(path.stem for path in directory.glob("*.py"))
    if named is None:
        chosen = "model" if "model" in modules or len(modules) != 1 else modules[0]
        named = f"{chosen}:{DEFAULT_CLASS}"
    module_name, _, class_name = str(named).partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name:
            raise unreadable(
                f"it has no module {module_name!r}, only {', '.join(modules) or 'none'}",
                "name the class in options.class as module:Class",
            ) from error
        raise unreadable(f"importing {module_name!r} raised {first_line(error)}", "mend the model's code") from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        raise unreadable(f"{module_name!r} has no class {class_name!r}", "name it in options.class as module:Class")
    return found


def _construct(found: type[Any], directory: Path) -> Any:
    if not callable(getattr(found, "predict", None)):
        raise misfit(f"the class {found.__name__!r} has no method predict", "add predict(self, columns)")
    try:
        return found(str(directory)).predict
    except Exception as error:
        raise unreadable(f"{found.__name__}(directory) raised {first_line(error)}", "mend the model's code") from error


def _typed(field: Field, values: Sequence[Any]) -> NDArray[Any]:
    match field.type:
        case LogicalType.STRING:
            return _objects(values)
        case LogicalType.BOOLEAN:
            return _objects(values) if field.nullable else np.array(values, dtype=np.bool_)
        case LogicalType.INTEGER if not field.nullable:
            return np.array(values, dtype=np.int64)
        case _:
            return np.array(values, dtype=np.float64)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
