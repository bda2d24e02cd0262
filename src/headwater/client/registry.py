"""The model registry: pushing versions, moving traffic among them, taking it back, asking what depends on what."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from urllib.parse import quote, urlencode

import httpx

from headwater.client.errors import ApiError, ClientError, Unreachable

Role = Literal["primary", "canary", "shadow", "pinned"]
Window = Literal["1h", "24h", "7d"]
WHOLE: Final = 10_000
_URL: Final = "http://127.0.0.1:8000"
_CHUNK_BYTES: Final = 1 << 20


class Registry:
    """A project's models, as control keeps them; answers are control's own documents.

    Every method raises ``ApiError`` for an answer that is an error and ``Unreachable`` when none comes. Nothing is
    tried again by itself; pushing and moving traffic may be repeated safely.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        organization: str = "default",
        project: str = "default",
        environment: str = "development",
        timeout_seconds: float = 120.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Prepare the connection; nothing is sent yet.

        Args:
            url: where control is; default ``HEADWATER_CONTROL__URL``, else port 8000 of this machine.
            api_key: ``hw_…``; default ``HEADWATER_API_KEY``.
            organization: its slug.
            project: its slug.
            environment: the key of the one whose traffic is moved.
            timeout_seconds: how long one answer may take; a push runs the version's checks.
            transport: another way to carry requests, for tests.
        """
        key = api_key or os.environ.get("HEADWATER_API_KEY", "").strip()
        if not key:
            raise ClientError("no API key: give api_key, or set HEADWATER_API_KEY")
        base = (url or os.environ.get("HEADWATER_CONTROL__URL") or _URL).rstrip("/")
        self.environment = environment
        self._project = f"/organizations/{quote(organization, safe='')}/projects/{quote(project, safe='')}"
        self._http = httpx.Client(
            base_url=f"{base}/api/v1",
            headers={"Authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(timeout_seconds, connect=5.0),
            transport=transport,
        )

    def models(self) -> list[dict[str, Any]]:
        """Return every model with its aliases and routes."""
        return list(self._pages(f"{self._project}/models"))

    def model(self, name: str) -> dict[str, Any]:
        """Return one model."""
        return self._get(self._model(name))

    def versions(self, name: str, *, limit: int = 20) -> list[dict[str, Any]]:
        """Return a model's newest versions."""
        found: list[dict[str, Any]] = self._get(f"{self._model(name)}/versions?limit={limit}")["items"]
        return found

    def version(self, name: str, number: int) -> dict[str, Any]:
        """Return all about a version: checks, approvals, lineage, card."""
        return self._get(self._version(name, number))

    def deployments(self, name: str) -> list[dict[str, Any]]:
        """Return how a model is served, by environment."""
        return list(self._pages(f"{self._model(name)}/deployments"))

    def rollouts(self, name: str, *, limit: int = 10) -> list[dict[str, Any]]:
        """Return how a model was served in the environment, newest first."""
        query = urlencode({"environment": self.environment, "limit": limit})
        found: list[dict[str, Any]] = self._get(f"{self._model(name)}/rollouts?{query}")["items"]
        return found

    def lineage(self, *, dataset: str | None = None, view: str | None = None) -> list[dict[str, Any]]:
        """Return which versions were trained on a dataset or read a feature view."""
        asked = {"dataset": dataset, "view": view}
        query = {name: value for name, value in asked.items() if value is not None}
        return list(self._pages(f"{self._project}/lineage", query))

    def put_artifact(self, path: Path, *, advance: Callable[[int], None] = lambda _: None) -> str:
        """Send a file before the manifest that names it and return its sha256; ``advance`` hears of each chunk."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)

            def chunks() -> Iterator[bytes]:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
                    advance(len(chunk))

            self._ask("PUT", f"/artifacts/{digest}", content=chunks())
        return digest

    def push(
        self, manifest: str, *, artifact_sha256: str = "", profile_sha256: str = "", hold: bool = False
    ) -> dict[str, Any]:
        """Register a version, unless this very one is there; ``created`` says which.

        Args:
            manifest: the text of ``model.yaml``.
            artifact_sha256: of what was put before; empty for a remote model.
            profile_sha256: of the reference profile that was put before, if there is one.
            hold: keep a new version from taking traffic.
        """
        body = {"text": manifest, "artifact_sha256": artifact_sha256, "profile_sha256": profile_sha256, "hold": hold}
        return self._post(f"{self._project}/models", self._placed(body))

    def promote(
        self, name: str, number: int, *, role: Role = "primary", weight_bps: int = WHOLE, reason: str = ""
    ) -> dict[str, Any]:
        """Let a version answer everything, or try it as ``role`` with a share in basis points."""
        body = {"role": role, "weight_bps": weight_bps, "reason": reason}
        return self._post(f"{self._version(name, number)}/promote", self._placed(body))

    def roll_back(self, name: str, number: int | None = None, *, reason: str = "") -> dict[str, Any]:
        """Take back what was rolled out last, or take version ``number`` out; return the rollout."""
        return self._post(f"{self._model(name)}/rollback", self._placed({"version": number, "reason": reason}))

    def approve(self, name: str, number: int, *, reason: str, override: bool = False) -> dict[str, Any]:
        """Allow a version that somebody else pushed in protected environments."""
        return self._post(f"{self._version(name, number)}/approve", {"reason": reason, "override": override})

    def archive(self, name: str, number: int, *, reason: str = "") -> dict[str, Any]:
        """Take a version out of use; refused while it is served or an alias names it."""
        return self._post(f"{self._version(name, number)}/archive", {"reason": reason})

    def move_alias(self, name: str, alias: str, number: int, *, reason: str = "") -> dict[str, Any]:
        """Let an alias mean a version; return the model."""
        address = f"{self._model(name)}/aliases/{quote(alias, safe='')}"
        document: dict[str, Any] = self._ask("PUT", address, json={"version": number, "reason": reason})
        return document

    def report(self, name: str, number: int, *, window: Window = "24h") -> dict[str, Any]:
        """Return what a version saw and said: traffic, drift, performance, shadow, alerts."""
        return self._get(self._report(name, number, "", window))

    def report_file(
        self, name: str, number: int, *, form: Literal["html", "png"] = "html", window: Window = "24h"
    ) -> bytes:
        """Return the report as one HTML file that loads nothing, or as an image."""
        return self._send("GET", self._report(name, number, f".{form}", window)).content

    def alerts(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the alerts that stand in the environment, of one model or of all."""
        asked = {"environment": self.environment} | ({"model": name} if name is not None else {})
        return list(self._pages("/alerts", asked))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _model(self, name: str) -> str:
        return f"{self._project}/models/{quote(name, safe='')}"

    def _version(self, name: str, number: int) -> str:
        return f"{self._model(name)}/versions/{number}"

    def _report(self, name: str, number: int, suffix: str, window: str) -> str:
        query = urlencode({"environment": self.environment, "window": window})
        return f"{self._version(name, number)}/report{suffix}?{query}"

    def _placed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"environment": self.environment, **body}

    def _pages(self, path: str, query: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            page = self._get(f"{path}?{urlencode({'limit': '200', **(query or {}), **cursor})}")
            yield from page["items"]
            if not page.get("next"):
                return
            cursor = {"cursor": page["next"]}

    def _get(self, path: str) -> dict[str, Any]:
        document: dict[str, Any] = self._ask("GET", path)
        return document

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = self._ask("POST", path, json=dict(body))
        return document

    def _ask(self, method: str, path: str, *, json: Any = None, content: Iterator[bytes] | None = None) -> Any:
        response = self._send(method, path, json=json, content=content)
        return response.json() if response.content else None

    def _send(
        self, method: str, path: str, *, json: Any = None, content: Iterator[bytes] | None = None
    ) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=json, content=content)
        except httpx.TransportError as error:
            raise Unreachable(str(self._http.base_url), error) from error
        if not response.is_success:
            raise ApiError.from_response(response)
        return response
