"""The corpora of SQL: what attackers write, by kind, and what analysts write."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parents[1] / "corpus"
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-f]{4})|([nt]))")
_SIGNS: Final = {"n": "\n", "t": "\t"}
_PLACE: Final = re.compile(r"\{(file|table|other)\}")

#: Statements that are nested or long beyond what is worth writing down, by their name in the corpus.
_MADE: Final[Mapping[str, str]] = {
    "deep parentheses": "select " + "(" * 2_000 + "1" + ")" * 2_000,
    "deep lists": "select " + "[" * 400 + "]" * 400,
    "deep structs": "select " + "{'a': " * 400 + "1" + "}" * 400,
    "deep functions": "select " + "abs(" * 400 + "1" + ")" * 400,
    "deep not": "select " + "not " * 2_000 + "true",
    "deep case": "select " + "case when true then " * 300 + "1" + " end" * 300,
    "deep subqueries": "select * from " + "(select * from " * 300 + "orders" + ")" * 300,
    "deep joins": "select 1 from orders" + " cross join orders" * 400,
    "deep with": "with x as (" * 200 + "select 1" + ") select * from x" * 200,
    "deep types": "select null::" + "struct(a " * 300 + "int" + ")" * 300,
    "deep lambdas": "select " + "list_transform([1], lambda x: " * 200 + "1" + ")" * 200,
    "deep minus": "select " + "- " * 5_000 + "1",
    "deep set operations": "select 1" + " except select 1" * 600,
    "deep conjunctions": "select 1 where " + "(true and (false or " * 300 + "true" + "))" * 300,
    "long list": "select 1 in (" + ",".join(map(str, range(10_000))) + ")",
    "long comment": "select 1 /* " + "x" * 25_000 + " */",
    "long name": 'select * from "' + "o" * 20_000 + '"',
    "long union": " union all ".join(["select 1"] * 5_000),
}


@dataclass(frozen=True)
class Attack:
    """A hostile statement; ``is_refused`` says that nothing of it may run."""

    kind: str
    sql: str
    is_refused: bool

    def aimed(self, places: Mapping[str, str]) -> str:
        """Return the statement with the files that lie in ``places``."""
        return _PLACE.sub(lambda found: places[found[1]], self.sql)


def attacks() -> list[Attack]:
    """Return every hostile statement; those of the first corpus may be either refused or harmless."""
    found = [Attack("first corpus", line, is_refused=False) for line in _lines("hostile_sql.txt")]
    kind, is_refused = "", False
    for line in _lines("attacks_sql.txt"):
        if line.startswith("== "):
            verdict, _, kind = line.removeprefix("== ").partition(": ")
            is_refused = {"refused": True, "harmless": False}[verdict]
            continue
        found.append(Attack(kind, _MADE.get(line.strip("{}"), line), is_refused))
    return found


def analyst_lines() -> list[str]:
    """Return what analysts write over ``t`` and ``u``, as the corpus says."""
    return list(_lines("analyst_sql.txt"))


def _lines(name: str) -> Iterator[str]:
    for line in (CORPUS / name).read_text(encoding="utf-8").split("\n"):
        if line.strip() and not line.startswith("# "):
            yield _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _SIGNS[found[2]], line)
