"""Matching hot routes: a walk down nested dictionaries, one step for each segment of the path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from headwater.services.kit.service import HotHandler

_KNOWN: Final = 1_024  # paths remembered; those of a process are few, and whatever callers make up is forgotten
_KNOWN_LENGTH: Final = 256


@dataclass(frozen=True, slots=True)
class HotRoute:
    """A handler with its template and the places of its parameters: ``((3, "dataset"),)``."""

    template: str
    handler: HotHandler
    parameters: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    any_child: _Node | None = None
    routes: dict[str, HotRoute] = field(default_factory=dict)


class HotRoutes:
    """The hot routes of all services. Literal segments win over parameters."""

    def __init__(self, routes: Mapping[tuple[str, str], HotHandler]) -> None:
        """Index handlers by (method, path template), such as ``("POST", "/v1/datasets/{dataset}/rows")``."""
        self._root = _Node()
        self._known: dict[tuple[str, str], tuple[HotRoute, dict[str, str]]] = {}
        for (method, template), handler in routes.items():
            self._add(method, template, handler)

    def match(self, method: str, path: str) -> tuple[HotRoute, dict[str, str]] | None:
        """Return the route of a request with its path parameters; None when no hot route fits."""
        found = self._known.get((method, path))
        if found is None:
            found = self._walk(method, path)
            if found is None:
                return None
            if len(path) <= _KNOWN_LENGTH:
                if len(self._known) >= _KNOWN:
                    self._known.clear()
                self._known[method, path] = found
        route, parameters = found
        return route, parameters.copy()

    def _walk(self, method: str, path: str) -> tuple[HotRoute, dict[str, str]] | None:
        segments = path.split("/")
        node = self._root
        for segment in segments:
            child = node.children.get(segment)
            if child is None:
                child = node.any_child if segment else None
                if child is None:
                    return None
            node = child
        route = node.routes.get(method)
        if route is None:
            return None
        return route, {name: segments[index] for index, name in route.parameters}

    def _add(self, method: str, template: str, handler: HotHandler) -> None:
        node = self._root
        parameters: list[tuple[int, str]] = []
        for index, segment in enumerate(template.split("/")):
            if segment.startswith("{") and segment.endswith("}"):
                parameters.append((index, segment[1:-1]))
                node.any_child = node.any_child or _Node()
                node = node.any_child
            else:
                node = node.children.setdefault(segment, _Node())
        node.routes[method] = HotRoute(template, handler, tuple(parameters))
