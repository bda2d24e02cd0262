"""Reading plain data a section at a time: what is understood is taken out, the rest stays for export."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final

from headwater.contracts.durations import parse_duration
from headwater.contracts.yamltree import Document
from headwater.core.errors import HeadwaterError

PREFIX: Final = "headwater."
_KINDS: Final[dict[Any, str]] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    list: "a list",
    dict: "a mapping",
    (int, float): "a number",
    (int, float, str): "a number or text",
}


class Problems:
    """Errors of one file, each with its line, path, sentence and cure."""

    def __init__(self, source: str, document: Document) -> None:
        """Collect for ``source``."""
        self.source = source
        self._document = document
        self.found: list[dict[str, Any]] = []

    def add(self, path: str, message: str, cure: str) -> None:
        """Note one error."""
        line = self._document.line_of(path)
        self.found.append({"source": self.source, "line": line, "path": path, "message": message, "cure": cure})

    def raise_any(self) -> None:
        """Raise ``contract_invalid`` with all errors, in the order of their lines, if there are any."""
        if self.found:
            raise invalid(self.source, sorted(self.found, key=lambda error: error["line"]))


def invalid(source: str, errors: list[dict[str, Any]]) -> HeadwaterError:
    """Return the error of a file whose errors are known."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{source}:{first['line']}: {first['path'] or 'the file'}: {first['message']}{more}"
    return HeadwaterError("contract_invalid", detail, hint=first["cure"], extra={"errors": errors})


class Section:
    """A mapping at a path, emptied as it is understood."""

    def __init__(self, data: Any, path: str, problems: Problems) -> None:
        """Copy ``data``; anything but a mapping is an error."""
        self.path = path
        self.problems = problems
        if not isinstance(data, dict):
            problems.add(path, "must be a mapping", "Write it as key: value lines.")
            data = {}
        self.left: dict[str, Any] = dict(data)

    def at(self, key: str) -> str:
        """Return the path of a member."""
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, kind: Any, default: Any = None) -> Any:
        """Take a member out; another type than ``kind`` is an error and counts as absent, as does null."""
        value = self.left.pop(key, None)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.problems.add(self.at(key), f"must be {_KINDS[kind]}", f"Correct the value of {key}.")
            return default
        return value

    def take_choice(self, key: str, choices: Collection[str], default: Any = None) -> Any:
        """Take a text that must be one of ``choices``."""
        value = self.take(key, str, default)
        if value is not default and value not in choices:
            self.problems.add(self.at(key), f"{value!r} is not one of {', '.join(choices)}", f"Choose a known {key}.")
            return default
        return value

    def take_texts(self, key: str) -> tuple[str, ...]:
        """Take a list of texts."""
        values = self.take(key, list, [])
        if all(isinstance(value, str) for value in values):
            return tuple(values)
        self.problems.add(self.at(key), "must be a list of texts", "Put other values in quotes.")
        return ()

    def take_duration(self, key: str, default: timedelta | None) -> timedelta | None:
        """Take a duration such as ``7d``; an explicit null means none."""
        if key in self.left and self.left[key] is None:
            del self.left[key]
            return None
        text = self.take(key, str)
        if text is None:
            return default
        try:
            return parse_duration(text)
        except ValueError as error:
            self.problems.add(self.at(key), str(error), "Write it as 7d, 12h, 10m or 30s.")
            return default

    def finish(self, known: Collection[str], what: str) -> dict[str, Any]:
        """Return what is left; members outside of ``known`` are errors."""
        for key in self.left:
            if key not in known:
                close = difflib.get_close_matches(key, known, 1)
                cure = f"Did you mean {close[0]}?" if close else "Own members go to customProperties."
                self.problems.add(self.at(key), f"{key!r} is not part of {what}", cure)
        return self.left


def take_custom(section: Section, known: Collection[str], kept: Collection[str] = ()) -> Section:
    """Take our own custom properties out of ``section`` as a section of their own; others stay where they are."""
    entries = section.left.get("customProperties")
    own = Section({}, section.at("customProperties"), section.problems)
    if entries is None:
        return own
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and isinstance(e.get("property"), str) for e in entries
    ):
        cure = "Write it as a list of entries with property and value."
        section.problems.add(section.at("customProperties"), "must be a list of properties", cure)
        return own
    foreign: list[Any] = []
    for index, entry in enumerate(entries):
        name = entry["property"].removeprefix(PREFIX)
        if not entry["property"].startswith(PREFIX) or name in kept:
            foreign.append(entry)
        elif name not in known:
            _complain_about(entry["property"], known, f"{own.path}[{index}]", section.problems)
        else:
            own.left[name] = entry.get("value")
    if foreign:
        section.left["customProperties"] = foreign
    else:
        del section.left["customProperties"]
    return own


def _complain_about(name: str, known: Collection[str], path: str, problems: Problems) -> None:
    choices = [PREFIX + one for one in known]
    close = difflib.get_close_matches(name, choices, 1)
    cure = f"Did you mean {close[0]}?" if close else f"Known are {', '.join(sorted(choices))}."
    problems.add(path, f"there is no property {name!r} here", cure)


def custom_entries(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return our own custom properties as ODCS writes them."""
    return [{"property": PREFIX + name, "value": value} for name, value in values.items()]


def dump_rest(rest: dict[str, Any]) -> str:
    """Return what is left of a section as text; nothing as the empty text."""
    return json.dumps(rest, ensure_ascii=False, sort_keys=True, separators=(",", ":")) if rest else ""


def load_rest(text: str) -> dict[str, Any]:
    """Return what ``dump_rest`` wrote."""
    rest: dict[str, Any] = json.loads(text) if text else {}
    return rest
