"""What the documentation shows would work: commands parse, contracts and endpoints are read by their own readers."""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.docs.generator import GENERATOR
from tests.docs.pages import ROOT, Block, blocks, pages, spans

from headwater.cli.main import COMMANDS
from headwater.contracts.odcs import parse_contract
from headwater.control.dashboards.document import parse_dashboard
from headwater.control.flags.document import parse_flag
from headwater.control.policies.document import parse_policy
from headwater.core.settings import load_settings
from headwater.engines.features.definition import parse_view
from headwater.engines.models.manifest import parse_manifest
from headwater.engines.query.endpoint_file import parse_endpoint

COMMAND = re.compile(r"(?:^|\(|\$ |bin/)headwater +(?=[a-z])([^|)\n]*)", re.MULTILINE)
OUTPUT = re.compile(r"^\w+ +│|^(?:ok|warn|fail) ")
FRAME: dict[str, Any] = {"apiVersion": "v3.1.0", "kind": "DataContract", "version": "1.0"}


@cache
def leaves() -> dict[str, Any]:
    return dict(leaf for name in COMMANDS for leaf in GENERATOR.command_leaves(name))


def command_lines() -> list[tuple[str, str]]:
    """Return every command line of the pages' blocks, with its place."""
    found = []
    for block in blocks("", "sh", "ini"):
        lines = [line for line in block.text.replace("\\\n", " ").splitlines() if not OUTPUT.match(line)]
        calls = COMMAND.finditer("\n".join(lines))
        found += [(str(block), call[1].partition(" #")[0].strip()) for call in calls]
    return found


def find_command(words: list[str]) -> tuple[str, list[str]]:
    """Return the full name of the command that these words call, and the rest of them."""
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in leaves():
            return name, words[count:]
    raise AssertionError(f"there is no command `headwater {' '.join(words[:2])}`")


def test_there_are_examples_to_check() -> None:
    assert len(command_lines()) > 25
    assert len(blocks("yaml")) > 5
    assert len(blocks("sql")) > 3


@pytest.mark.parametrize(("place", "line"), command_lines())
def test_a_command_line_parses(place: str, line: str) -> None:
    name, words = find_command(shlex.split(line))
    command = leaves()[name]
    with command.make_context(name, words) as context:
        assert not context.args, place


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_text_exist_with_their_options(page: Path) -> None:
    for span in spans(page):
        words = span.split()
        if words[0] != "headwater" or len(words) == 1 or words[1].startswith(("-", "…")):
            continue
        if words[1] in COMMANDS and len(words) == 2:
            continue  # a group by itself
        name, rest = find_command(words[1:])
        known = {option for one in leaves()[name].params for option in one.opts}
        unknown = [word for word in rest if word.startswith("--") and word not in known]
        assert not unknown, f"`{span}`"


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_what_its_reader_takes(block: Block) -> None:
    document = yaml.safe_load(block.text)
    if isinstance(document, list):
        parse_contract(yaml.safe_dump(contract_around(document)), source=str(block))
    elif document.get("kind") == "DataContract":
        parse_contract(block.text, source=str(block))
    elif "entities" in document:
        departures = (ROOT / "examples" / "flights" / "datasets" / "departures.yaml").read_text()
        parse_view(block.text, source="features/example.yaml").resolve(parse_contract(departures, source=str(block)))
    elif "variants" in document:
        parse_flag(block.text, source="flags/example.yaml")
    elif "tiles" in document:
        parse_dashboard(block.text, source="dashboards/example.yaml")
    elif "principals" in document:
        parse_policy(block.text, source="policies/example.yaml")
    else:
        parse_manifest(block.text, source=str(block))


def contract_around(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a contract that holds properties, or custom properties, shown without the rest."""
    columns = [{"name": name, "logicalType": "string", "required": True} for name in ("origin", "time_hour")]
    table = {"name": "example", "logicalType": "object", "properties": columns}
    if "property" in entries[0]:
        return FRAME | {"schema": [table], "customProperties": entries}
    return FRAME | {"schema": [table | {"properties": entries}]}


@pytest.mark.parametrize("block", blocks("sql"), ids=str)
def test_sql_is_an_endpoint(block: Block) -> None:
    assert parse_endpoint(block.text, source="endpoints/example.sql").tables


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_holds_settings(block: Block, tmp_path: Path) -> None:
    tomllib.loads(block.text)
    file = tmp_path / "headwater.toml"
    file.write_text(block.text, encoding="utf-8")
    load_settings(environ={}, file=file)


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_compiles(block: Block) -> None:
    ast.parse(block.text)


def test_every_block_is_of_a_language_that_is_checked_or_only_shown() -> None:
    checked = {"", "sh", "ini", "json", "yaml", "sql", "toml", "python"}
    shown = {"mermaid", "csv", "nginx"}
    kinds = {block.language for page in pages() for block in blocks(*_languages(page))}
    assert not kinds - checked - shown


def _languages(page: Path) -> list[str]:
    return re.findall(r"^```(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
