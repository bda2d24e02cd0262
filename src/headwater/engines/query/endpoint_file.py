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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_jsonable_python

from headwater.core.endpoints import CacheSpec, ColumnSpec, LimitsSpec, LiveSpec, endpoint_label, split_label
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.endpoint_header import NAME, Faults, Header, read_header
from headwater.engines.query.endpoint_parameters import plain_value, read_parameters
from headwater.engines.query.parameters import ParameterFault, duckdb_types
from headwater.engines.query.result_types import read_type, words

if TYPE_CHECKING:
    from headwater.engines.query.walk import CheckedQuery

EXPECT: Final = "expect"
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
    expectations: tuple[Any, ...] = ()
    version: int = 1
    deprecated_at: datetime | None = None
    sunset_at: datetime | None = None
    key: tuple[str, ...] = ()
    columns: tuple[ColumnSpec, ...] = ()
    cache: CacheSpec = field(default_factory=CacheSpec)
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    live: LiveSpec = field(default_factory=LiveSpec)

    @property
    def label(self) -> str:
        """Return the name, with the version behind it from the second on."""
        return self.name if self.version == 1 else endpoint_label(self.name, self.version)

    def to_spec(self) -> dict[str, Any]:
        """Return the members of ``EndpointSpec`` that the file decides: all but id and revision.

        Members added since the first release are left out at their defaults, so that what was applied then is
        recognised as the same.
        """
        later: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("version", "key", "columns", "cache", "limits", "live", "deprecated_at", "sunset_at")
            if getattr(self, name) != getattr(_DEFAULTS, name)
        }
        return {
            "name": self.name,
            "sql": self.sql,
            "tables": list(self.tables),
            "parameters": [_plain_parameter(parameter) for parameter in self.parameters],
            "description": self.description,
            "roles": list(self.roles),
            "timeout_seconds": self.timeout_seconds,
            "max_rows": self.max_rows,
            **{name: to_jsonable_python(value) for name, value in later.items()},
        }


_DEFAULTS: Final = EndpointFile("", "", (), ())
_LATER: Final = frozenset({"is_list", "max_items", "relative", "values_from", "max_span"})


def _plain_parameter(spec: ParameterSpec) -> dict[str, Any]:
    """Return a parameter as JSON holds it, without what was added since the first release and is not used."""
    return spec.model_dump(mode="json", exclude=set(_LATER)) | spec.model_dump(
        mode="json", include=set(_LATER), exclude_defaults=True
    )


def parse_endpoint(text: str, *, source: str) -> EndpointFile:
    """Read an endpoint file.

    Args:
        text: the file's content.
        source: its path, for the default name and for errors.

    Raises:
        HeadwaterError: ``project_invalid``; ``errors`` lists every fault with ``path``, ``message`` and, where one
            is known, ``line`` and ``hint``.
    """
    faults = Faults(source)
    match = _HEADER.match(text)
    if match is None:
        raise faults.one(
            "", "the file does not begin with a header", hint="begin with /* and a line 'description: …' */"
        )
    header_line = text[: match.start(1)].count("\n")
    header = read_header(match[1], header_line, faults)
    sql = text[match.end() :].strip().removesuffix(";").rstrip()
    sql_line = text[: len(text) - len(text[match.end() :].lstrip())].count("\n")
    name, version = _read_name(header, source, faults)
    parameters = tuple(read_parameters(header.parameters, faults))
    checked = _check_sql(sql, sql_line, parameters, header.parameters, faults)
    columns = tuple(_read_columns(header.columns, faults))
    examples, expectations = _read_examples(header.examples, parameters, faults)
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
        expectations=expectations,
        version=version,
        deprecated_at=header.deprecated,
        sunset_at=header.sunset,
        key=tuple(header.key),
        columns=columns,
        cache=header.cache.to_spec(),
        limits=header.limits.to_spec(),
        live=header.live.to_spec(),
    )


def _read_name(header: Header, source: str, faults: Faults) -> tuple[str, int]:
    """Return name and version: the header's, else those of the file, as in ``daily@2.sql``."""
    stem, in_name = split_label(PurePosixPath(source).stem)
    name = header.name or stem
    if not re.fullmatch(NAME, name):
        faults.add("name", f"{name[:64]!r} is not a name", hint="use lower-case letters, digits and underscores")
    if in_name == 0:
        faults.add("version", "the file's name has no version behind @", hint="call it for instance daily@2.sql")
    if in_name and header.version not in (None, in_name):
        faults.add("version", f"it is {header.version} here and {in_name} in the file's name", hint="remove one")
    return name, header.version or in_name or 1


def _read_columns(declared: Mapping[str, str], faults: Faults) -> Iterator[ColumnSpec]:
    for name, type_ in declared.items():
        try:
            yield ColumnSpec(name=name, type=read_type(type_))
        except ValueError as error:
            hint = f"one of {', '.join(words())}, a list such as string[], or a type of DuckDB's"
            faults.add(f"columns.{name}", str(error), hint=hint)


def _check_sql(
    sql: str, first_line: int, parameters: Sequence[ParameterSpec], declared: Iterable[str], faults: Faults
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
    examples: Sequence[Mapping[str, Any]], parameters: Sequence[ParameterSpec], faults: Faults
) -> tuple[tuple[dict[str, Any], ...], tuple[Any, ...]]:
    """Return the values of each example, and what it expects of the answer (None: nothing)."""
    specs = {spec.name: spec for spec in parameters}
    found: list[dict[str, Any]] = []
    expectations: list[Any] = []
    for index, example in enumerate(examples):
        plain: dict[str, Any] = {}
        expected = None
        for name, raw in example.items():
            if name == EXPECT and name not in specs:
                expected = raw
                if not isinstance(raw, str | list):
                    faults.add(f"examples.{index}.{name}", "must be a list of rows, or the path of a JSON file")
            elif name not in specs:
                faults.add(f"examples.{index}.{name}", "there is no such parameter")
            else:
                try:
                    plain[name] = None if raw is None else plain_value(specs[name], raw)
                except ParameterFault as fault:
                    faults.add(f"examples.{index}.{name}", str(fault))
        found.append(plain)
        expectations.append(expected)
    return tuple(found), tuple(expectations)
