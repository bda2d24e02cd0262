"""A project's own routes as the kit runs them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp, Receive, Scope, Send

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.snapshot import Snapshot
from headwater.services.custom.gate import PERMISSION, Gate
from headwater.services.custom.loading import RouteFile, load_route_files
from headwater.services.kit.problem import install_problem_handlers
from headwater.services.kit.service import Caller, HotHandler, Runtime

PREFIX: Final = "/x"
_SCHEMAS: Final = "#/components/schemas/"
_log = get_logger(__name__)


class CustomRoutes:
    """Serves the files below ``services/`` of the project directory. One that cannot be loaded answers 503."""

    name = "custom"

    def __init__(self, runtime: Runtime) -> None:
        """Run the project's files."""
        self._router = APIRouter()
        self._documents: dict[str, dict[str, Any]] = {}
        self._faults: list[str] = []
        for file in load_route_files(runtime.settings.project):
            self._router.mount(f"{PREFIX}/{file.name}", self._serve(runtime, file))

    def compile(self, snapshot: Snapshot, previous: Any | None) -> None:
        """Compile nothing: routes ask the other services."""

    def router(self) -> APIRouter:
        """Return every file's routes below ``/x/<file>``."""
        return self._router

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        """Return nothing: these routes are FastAPI's."""
        return {}

    def internal_router(self) -> APIRouter | None:
        """Return nothing: control needs nothing from here."""
        return None

    async def start(self) -> None:
        """Start nothing."""

    async def stop(self) -> None:
        """Stop nothing."""

    def problems(self) -> Sequence[str]:
        """Return nothing: what cannot be loaded is a degradation, the rest serves."""
        return ()

    def degradations(self) -> Sequence[str]:
        """Return why each file that is not served is not."""
        return self._faults

    def openapi_paths(self, caller: Caller) -> Mapping[str, Any]:
        """Return the routes of the files that ``caller`` may call."""
        documents = self._documents_for(caller)
        return {path: item for document in documents for path, item in document["paths"].items()}

    def openapi_schemas(self, caller: Caller) -> Mapping[str, Any]:
        """Return the schemas that those routes refer to."""
        documents = self._documents_for(caller)
        return {name: schema for document in documents for name, schema in document["schemas"].items()}

    def _serve(self, runtime: Runtime, file: RouteFile) -> ASGIApp:
        if file.fault:
            _log.error("routes_not_loaded", file=file.name, fault=file.fault)
            self._faults.append(file.fault)
            return _Unavailable(file.name)
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        install_problem_handlers(app)
        for router in (file.public, file.router):
            if router is not None:
                app.include_router(router)
        self._documents[file.name] = _describe(file.name, app)
        return Gate(runtime, file.name, app, file.public)

    def _documents_for(self, caller: Caller) -> list[dict[str, Any]]:
        return [document for name, document in self._documents.items() if caller.key.can(PERMISSION, name)]


class _Unavailable:
    """What stands where the routes of a broken file would."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, _scope: Scope, _receive: Receive, _send: Send) -> None:
        raise HeadwaterError(
            "routes_unavailable", f"/x/{self._name} could not be loaded", hint="/readyz says why; mend it and restart"
        )


def _describe(name: str, app: FastAPI) -> dict[str, Any]:
    """Return the paths of a file's routes and their schemas, under names that no other file has."""
    document = get_openapi(title=name, version="1", routes=app.routes)
    document = json.loads(json.dumps(document).replace(_SCHEMAS, f"{_SCHEMAS}x_{name}_"))
    for item in document.get("paths", {}).values():
        for operation in item.values():
            operation.setdefault("tags", [f"This project: {name}"])
            operation["operationId"] = f"x_{name}_{operation['operationId']}"
    return {
        "paths": {f"{PREFIX}/{name}{path}": item for path, item in document.get("paths", {}).items()},
        "schemas": {
            f"x_{name}_{schema}": content
            for schema, content in document.get("components", {}).get("schemas", {}).items()
        },
    }
