"""Single nodes of DuckDB's syntax tree, as JSON holds them: what they are, and how they are made other ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MAX_PAD: Final = 1_000


def wrap_in_cast(node: dict[str, Any], type_id: str) -> None:
    """Turn ``node`` into a cast of what it was, in place."""
    child = dict(node, alias="")
    alias = node["alias"]
    node.clear()
    node |= {"class": "CAST", "type": "OPERATOR_CAST", "alias": alias, "query_location": child["query_location"]}
    node |= {"child": child, "cast_type": _cast_type(type_id), "try_cast": False}


def _cast_type(type_id: str) -> dict[str, Any]:
    """Return a type as the tree has it; ``VARCHAR[]`` is a list of texts."""
    if not type_id.endswith("[]"):
        return {"id": type_id, "type_info": None}
    child = _cast_type(type_id.removesuffix("[]"))
    members = {"type": "LIST_TYPE_INFO", "alias": "", "extension_info": None, "child_type": child}
    return {"id": "LIST", "type_info": members}


def is_named_by_subquery(item: Mapping[str, Any]) -> bool:
    """Return whether DuckDB would name this column after a sub-query, and so after the views that are read there.

    What COLUMNS makes several columns of gets no name: they would all have the same.
    """
    if item["alias"]:
        return False
    classes: set[str | None] = set()
    left = [item]
    while left:
        value = left.pop()
        classes.add(value.get("class"))
        if value.get("class") != "SUBQUERY":
            for member in value.values():
                left += [one for one in (member if isinstance(member, list) else (member,)) if isinstance(one, dict)]
    return "SUBQUERY" in classes and "STAR" not in classes


def is_short(children: list[dict[str, Any]]) -> bool:
    """Return whether the second of a function's arguments is a plain number up to ``MAX_PAD``."""
    value = children[1].get("value") if len(children) > 1 else None
    return isinstance(value, dict) and isinstance(value.get("value"), int) and 0 <= value["value"] <= MAX_PAD
