"""YAML with places: plain data, and the line of every value, so that errors can point.

Scalars follow YAML 1.2: only ``true`` and ``false`` are booleans (``NO`` is Norway), and what looks like a date stays
text. A mapping that names a key twice is an error rather than a guess.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

MAX_BYTES: Final = 1 << 20
MAX_VALUES: Final = 200_000


class YamlFault(ValueError):
    """The text is not acceptable YAML; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        """Keep both."""
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Resolves scalars as YAML 1.2's core schema does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - the base class's shape


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), list(_first))


@dataclass
class Document:
    """A document's data; ``lines`` has the line of each path, ``texts`` the literal text of each scalar."""

    data: Any
    lines: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def line_of(self, path: str) -> int:
        """Return the line of ``path``, or of what contains it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)


def load(text: str) -> Document:
    """Read one YAML document; raises ``YamlFault``."""
    if len(text) > MAX_BYTES:
        raise YamlFault(f"the file is larger than {MAX_BYTES} characters", 1)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlFault(f"not valid YAML: {error.problem or error}", mark.line + 1 if mark else 1) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise YamlFault(f"not valid YAML: {error}", 1) from error
    if root is None:
        raise YamlFault("the file is empty", 1)
    builder = _Builder()
    data = builder.build(root, "")
    return Document(data, builder.lines, builder.texts)


class _Builder:
    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self._open: set[int] = set()

    def build(self, node: yaml.Node, path: str) -> Any:
        line = node.start_mark.line + 1
        self.lines[path] = line
        if len(self.lines) > MAX_VALUES:
            raise YamlFault("the file expands to too many values", line)
        if isinstance(node, yaml.ScalarNode):
            self.texts[path] = node.value
            return _scalar(node)
        if id(node) in self._open:
            raise YamlFault("an alias contains itself", line)
        self._open.add(id(node))
        value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        return value

    def _sequence(self, node: yaml.Node, path: str) -> list[Any]:
        return [self.build(item, f"{path}[{index}]") for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlFault("a key must be plain text", line)
            key = key_node.value
            if key in values:
                raise YamlFault(f"the key {key!r} occurs twice", line)
            values[key] = self.build(value_node, f"{path}.{key}" if path else key)
        return values


def _scalar(node: yaml.ScalarNode) -> Any:
    match node.tag.removeprefix("tag:yaml.org,2002:"):
        case "bool":
            return node.value.lower() == "true"
        case "null":
            return None
        case "int":
            return int(node.value) if len(node.value) <= 40 else float(node.value)  # noqa: PLR2004 - beyond any use
        case "float":
            return float(node.value)
        case "str":
            return node.value
        case other:
            raise YamlFault(f"the tag {other!r} is not supported", node.start_mark.line + 1)
