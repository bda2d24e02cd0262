"""SQL endpoint files: a SELECT below a YAML header in a block comment.

.. code-block:: sql

    /*
    description: Mean departure delay of each carrier
    parameters:
      from: {type: date, required: true}
      carrier: {type: string, max_length: 2}
    roles: [analyst]
    timeout_seconds: 5
    max_rows: 1000
    examples:
      - {from: 2013-01-01}
    */
    SELECT carrier, avg(dep_delay) AS delay FROM flights
    WHERE date >= $from AND ($carrier IS NULL OR carrier = $carrier)
    GROUP BY carrier

The name is ``name`` in the header, else the file's stem. There is no templating: a parameter that is optional, absent
and without default is NULL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.parameters import (
    ParameterFault,
    compile_pattern,
    duckdb_types,
    read_value,
    to_plain,
)

if TYPE_CHECKING:
    from headwater.engines.query.walk import CheckedQuery

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
MAX_TIMEOUT_SECONDS: Final = 300.0
MAX_ROWS: Final = 10_000_000
_HEADER: Final = re.compile(r"\A\s*/\*(.*?)\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class EndpointFile:
    """An endpoint as its file declares it, with what the walk over its SQL found.

    Attributes:
        sql: the statement without the header.
        tables: the tables it reads, sorted.
        examples: values by parameter, JSON-able; each was checked against the parameters.
    """

    name: str
    sql: str
    parameters: tuple[ParameterSpec, ...]
    tables: tuple[str, ...]
    description: str = ""
    roles: tuple[str, ...] = ()
    timeout_seconds: float = 10.0
    max_rows: int = 100_000
    examples: tuple[dict[str, Any], ...] = ()

    def to_spec(self) -> dict[str, Any]:
        """Return the members of ``EndpointSpec`` that the file decides: all but id and revision."""
        return {
            "name": self.name,
            "sql": self.sql,
            "tables": list(self.tables),
            "parameters": [parameter.model_dump(mode="json") for parameter in self.parameters],
            "description": self.description,
            "roles": list(self.roles),
            "timeout_seconds": self.timeout_seconds,
            "max_rows": self.max_rows,
        }


class _Header(BaseModel):
    """The header as written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = Field(None, pattern=NAME)
    description: str = Field("", max_length=10_000)
    parameters: dict[str, dict[str, Any]] = {}
    roles: list[str] = []
    timeout_seconds: float = Field(10.0, gt=0, le=MAX_TIMEOUT_SECONDS, strict=False)
    max_rows: int = Field(100_000, ge=1, le=MAX_ROWS)
    examples: list[dict[str, Any]] = []


class _Parameter(ParameterSpec):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME)
    max_length: int | None = Field(None, ge=0)


def parse_endpoint(text: str, *, source: str) -> EndpointFile:
    """Read an endpoint file.

    Args:
        text: the file's content.
        source: its path, for the default name and for errors.

    Raises:
        HeadwaterError: ``project_invalid``; ``errors`` lists every fault with ``path``, ``message`` and, where one
            is known, ``line`` and ``hint``.
    """
    faults = _Faults(source)
    match = _HEADER.match(text)
    if match is None:
        raise faults.one(
            "", "the file does not begin with a header", hint="begin with /* and a line 'description: …' */"
        )
    header_line = text[: match.start(1)].count("\n")
    header = _read_header(match[1], header_line, faults)
    sql = text[match.end() :].strip().removesuffix(";").rstrip()
    sql_line = text[: len(text) - len(text[match.end() :].lstrip())].count("\n")
    name = header.name or PurePosixPath(source).stem
    if not re.fullmatch(NAME, name):
        faults.add("name", f"{name[:64]!r} is not a name", hint="use lower-case letters, digits and underscores")
    parameters = tuple(_read_parameters(header.parameters, faults))
    checked = _check_sql(sql, sql_line, parameters, header.parameters, faults)
    examples = tuple(_read_examples(header.examples, parameters, faults))
    faults.raise_if_any()
    assert checked is not None, "an SQL fault was raised"
    return EndpointFile(
        name=name,
        sql=sql,
        parameters=parameters,
        tables=checked.tables,
        description=header.description.strip(),
        roles=tuple(header.roles),
        timeout_seconds=header.timeout_seconds,
        max_rows=header.max_rows,
        examples=examples,
    )


class _Faults:
    """Everything found wrong with one file."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._found: list[dict[str, Any]] = []

    def add(self, path: str, message: str, *, hint: str | None = None, line: int | None = None) -> None:
        fault: dict[str, Any] = {"source": self._source, "path": path, "message": message}
        optional = {"hint": hint, "line": line}
        self._found.append(fault | {name: value for name, value in optional.items() if value is not None})

    def one(self, path: str, message: str, *, hint: str | None = None, line: int | None = None) -> HeadwaterError:
        self.add(path, message, hint=hint, line=line)
        return self._error()

    def raise_if_any(self) -> None:
        if self._found:
            raise self._error()

    def _error(self) -> HeadwaterError:
        first = self._found[0]
        at = "".join(
            (f", line {first['line']}" if "line" in first else "", f", {first['path']}" if first["path"] else "")
        )
        return HeadwaterError(
            "project_invalid",
            f"{self._source}{at}: {first['message']}",
            hint=first.get("hint"),
            extra={"errors": self._found},
        )


def _read_header(text: str, first_line: int, faults: _Faults) -> _Header:
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = first_line + error.problem_mark.line + 1 if error.problem_mark else None
        raise faults.one("", f"the header is not YAML: {error.problem}", line=line) from error
    except yaml.YAMLError as error:
        raise faults.one("", f"the header is not YAML: {error}") from error
    if document is not None and not isinstance(document, dict):
        raise faults.one("", "the header must be a mapping", hint="write lines such as 'description: …'")
    try:
        return _Header.model_validate(document or {})
    except ValidationError as error:
        _add_all(error, (), faults, lambda: f"one of: {', '.join(_Header.model_fields)}")
        faults.raise_if_any()
        raise


def _add_all(error: ValidationError, prefix: tuple[str, ...], faults: _Faults, known: Callable[[], str]) -> None:
    for item in error.errors():
        path = ".".join((*prefix, *map(str, item["loc"])))
        if item["type"] == "extra_forbidden":
            faults.add(path, "there is no such member", hint=known())
        else:
            faults.add(path, f"{item['msg'][0].lower()}{item['msg'][1:]} (got {str(item['input'])[:80]!r})")


def _read_parameters(declared: Mapping[str, dict[str, Any]], faults: _Faults) -> Iterator[ParameterSpec]:
    for name, members in declared.items():
        path = f"parameters.{name}"
        try:
            parsed = _Parameter.model_validate({**members, "name": name})
        except ValidationError as error:
            _add_all(error, ("parameters", name), faults, lambda: f"one of: {', '.join(_Parameter.model_fields)}")
            continue
        problem = _misfit(parsed)
        if problem:
            faults.add(path, problem)
            continue
        try:
            yield _with_plain_values(parsed)
        except ParameterFault as fault:
            faults.add(path, f"its own default or values are not valid: {fault}")


def _misfit(spec: ParameterSpec) -> str | None:
    """Return what in a parameter contradicts itself."""
    if (spec.ge is not None or spec.le is not None) and spec.type not in ("integer", "number", "decimal"):
        return "ge and le are for numbers"
    if (spec.max_length is not None or spec.pattern is not None) and spec.type != "string":
        return "max_length and pattern are for strings"
    if spec.required and spec.default is not None:
        return "a required parameter has no default"
    if spec.pattern is not None:
        try:
            compile_pattern(spec.pattern)
        except ParameterFault as fault:
            return str(fault)
    return None


def _with_plain_values(spec: ParameterSpec) -> ParameterSpec:
    """Return the parameter with default and values in the one form they have in JSON (YAML reads dates by itself)."""
    unbounded = spec.model_copy(update={"values": ()})
    values = tuple(_plain(unbounded, value) for value in spec.values)
    bounded = spec.model_copy(update={"values": values})
    default = None if spec.default is None else _plain(bounded, spec.default)
    return ParameterSpec(**bounded.model_dump() | {"default": default})


def _plain(spec: ParameterSpec, raw: Any) -> Any:
    if spec.type == "decimal" and isinstance(raw, float):
        raw = repr(raw)
    raw = to_plain(raw)
    return to_plain(read_value(spec, raw, is_text=False))


def _check_sql(
    sql: str, first_line: int, parameters: Sequence[ParameterSpec], declared: Iterable[str], faults: _Faults
) -> CheckedQuery | None:
    if not sql:
        faults.add("sql", "there is no SQL below the header", hint="write one SELECT")
        return None

    # Brings DuckDB, which who only reads the file's header has no use for.
    from headwater.engines.query.walk import check_query  # noqa: PLC0415

    try:
        checked = check_query(sql, parameter_types=duckdb_types(parameters))
    except HeadwaterError as error:
        line = error.extra.get("line")
        at = first_line + line if line is not None else None
        message = re.sub(r"^line \d+: ", "", error.detail)
        faults.add("sql", message, hint=error.hint, line=at)
        return None
    names = set(declared)
    for name in sorted(set(checked.parameters) - names):
        faults.add("sql", f"${name} is not declared", hint=f"add 'parameters: {{{name}: {{type: …}}}}' to the header")
    for name in sorted(names - set(checked.parameters)):
        faults.add(f"parameters.{name}", f"the SQL does not use ${name}", hint="use it or remove it")
    return checked


def _read_examples(
    examples: Sequence[Mapping[str, Any]], parameters: Sequence[ParameterSpec], faults: _Faults
) -> Iterator[dict[str, Any]]:
    specs = {spec.name: spec for spec in parameters}
    for index, example in enumerate(examples):
        plain: dict[str, Any] = {}
        for name, raw in example.items():
            if name not in specs:
                faults.add(f"examples.{index}.{name}", "there is no such parameter")
                continue
            try:
                plain[name] = None if raw is None else _plain(specs[name], raw)
            except ParameterFault as fault:
                faults.add(f"examples.{index}.{name}", str(fault))
        yield plain
