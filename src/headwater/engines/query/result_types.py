"""Types of result columns: the words a contract promises them in, what fits a promise, and what each is in JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

MAX_LETTERS: Final = 2_000
_INTEGERS: Final = (
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
)
_WORDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "string": ("VARCHAR", "UUID", "ENUM"),
        "integer": _INTEGERS,
        "number": ("DOUBLE", "FLOAT"),
        "decimal": ("DECIMAL",),
        "boolean": ("BOOLEAN",),
        "date": ("DATE",),
        "time": ("TIME",),
        "timestamp": ("TIMESTAMP WITH TIME ZONE",),
        "binary": ("BLOB",),
        "json": ("JSON", "STRUCT", "MAP"),
    }
)
_DECIMAL: Final = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_SCHEMAS: Final[Mapping[str, dict[str, Any]]] = MappingProxyType(
    {
        "string": _TEXT,
        "integer": {"type": ["integer", "string"], "format": "int64", "description": "Text beyond ±(2^53 - 1)"},
        "number": {"type": "number"},
        "decimal": {"type": "string", "format": "decimal"},
        "boolean": {"type": "boolean"},
        "date": {"type": "string", "format": "date"},
        "time": {"type": "string", "format": "time"},
        "timestamp": {"type": "string", "format": "date-time"},
        "binary": {"type": "string", "contentEncoding": "base64"},
        "json": {},
    }
)
_SMALL: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER"})


def words() -> tuple[str, ...]:
    """Return the words that a contract may promise types in."""
    return tuple(_WORDS)


@lru_cache(maxsize=4_096)
def read_type(text: str) -> str:
    """Return a declared type in its one form: a word of ours in lower case, or an exact type as DuckDB writes it.

    Raises:
        ValueError: it is neither.
    """
    plain = " ".join(text.split())
    lists = ""
    while plain.endswith("[]"):
        plain, lists = plain[:-2].rstrip(), lists + "[]"
    small = plain.lower().replace(" ", "")
    if small in _WORDS or _DECIMAL.fullmatch(small):
        return small + lists
    import duckdb  # noqa: PLC0415 - who only compares words has no use for it

    try:
        return str(duckdb.sqltype(plain[:MAX_LETTERS])) + lists
    except duckdb.Error:
        raise ValueError(f"{text[:80]!r} is not a type") from None


def fits(promised: str, actual: str) -> bool:
    """Return whether a column of the DuckDB type ``actual`` keeps what a contract ``promised``."""
    while promised.endswith("[]"):
        if not actual.endswith("]"):
            return False
        promised, actual = promised[:-2], actual[: actual.rindex("[")]
    family = _WORDS.get(promised)
    if family is None:
        return promised.upper().replace(" ", "") == actual.upper().replace(" ", "")
    return actual in family or (actual.partition("(")[0] in family and not actual.endswith("]"))


def json_schema(type_: str) -> dict[str, Any]:
    """Return the JSON schema of a value of this type (a word, or DuckDB's); it may also be null."""
    if type_.endswith("]"):
        return {"type": ["array", "null"], "items": json_schema(type_[: type_.rindex("[")])}
    word = _word(type_)
    schema = dict(_SCHEMAS.get(word, {}))
    if type_ in _SMALL:
        schema = {"type": "integer", "format": "int32" if type_ == "INTEGER" else "int64"}
    kinds = schema.get("type")
    if kinds is not None:
        schema["type"] = [*(kinds if isinstance(kinds, list) else [kinds]), "null"]
    return schema


def _word(type_: str) -> str:
    """Return the word for what a type is in JSON."""
    if type_ in _WORDS:
        return type_
    base = type_.partition("(")[0]
    if base.lower() == "decimal":
        return "decimal"
    found = next((word for word, family in _WORDS.items() if type_ in family or base in family), None)
    return found or ("string" if base.startswith(("TIMESTAMP", "INTERVAL", "TIME")) else "json")
