"""Dashboards as files ``dashboards/<name>.yaml``, read and written. ``core.dashboards`` says what one may hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from headwater.contracts.yamltree import YamlFault, load
from headwater.core.dashboards import NAME_PATTERN, Board, parse_board, to_plain
from headwater.core.dashboards.spec import MAX_NAME, RESERVED
from headwater.core.errors import HeadwaterError

_NAME_OF_TILE: Final = re.compile(r" \([^)]*\)")


@dataclass(frozen=True, slots=True)
class DashboardFile:
    """A dashboard's file that could be read."""

    name: str
    board: Board
    source: str


def parse_dashboard(text: str, *, source: str) -> DashboardFile:
    """Read a dashboard's file; its name is the file's.

    Raises:
        HeadwaterError: ``project_invalid``; ``errors`` lists every fault with its path, line and cure.
    """
    try:
        tree = load(text)
    except YamlFault as fault:
        raise _invalid(source, [{"path": "", "message": str(fault), "line": fault.line}]) from fault
    name = PurePosixPath(source).stem
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > MAX_NAME or name in RESERVED:
        cure = "name the file by lower-case letters, digits and single - or _ between them, a letter first"
        raise _invalid(source, [{"path": "", "message": f"{name[:100]!r} cannot be a dashboard's name; {cure}"}])
    try:
        board = parse_board(tree.data)
    except HeadwaterError as error:
        found = [{**item, "line": tree.line_of(_NAME_OF_TILE.sub("", item["path"]))} for item in error.extra["errors"]]
        raise _invalid(source, found) from error
    return DashboardFile(name, board, source)


def write_dashboard(board: Board) -> str:
    """Return the file that declares a dashboard."""
    plain = to_plain(board)
    text: str = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes long text as a block, as a person would."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - the base class decides
        """Indent the items of lists."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text and not any(line.endswith(" ") for line in text.split("\n")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _invalid(source: str, found: list[dict[str, Any]]) -> HeadwaterError:
    first = found[0]
    where = f", {first['path']}" if first["path"] else ""
    errors = [{"source": source, **item} for item in found]
    return HeadwaterError("project_invalid", f"{source}{where}: {first['message']}", extra={"errors": errors})
