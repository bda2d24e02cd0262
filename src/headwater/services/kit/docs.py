"""``/docs``: the interactive reference, served from this process alone (no other host, no inline script)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from headwater.core.errors import HeadwaterError

_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.svg": "image/svg+xml",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Headwater API</title>
<link rel="icon" href="/docs/assets/favicon.svg">
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>The reference needs JavaScript; the document is <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/init.js"></script>
</body>
</html>
"""
# Whoever entered a key sees the endpoints and models of that key's environment too: the document is asked for again.
_INIT: Final = """"use strict";
const storageKey = "authorized";
function bearer() {
  try { return JSON.parse(localStorage.getItem(storageKey)).bearer.value; } catch { return null; }
}
window.addEventListener("load", () => {
  const ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    persistAuthorization: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor: (request) => {
      const key = bearer();
      if (request.loadSpec && key) { request.headers["Authorization"] = `Bearer ${key}`; }
      return request;
    },
  });
  let last = bearer();
  setInterval(() => {
    const key = bearer();
    if (key !== last) { last = key; ui.specActions.download("/openapi.json"); }
  }, 1000);
});
"""


def docs_router() -> APIRouter:
    """Return the page, its script and the assets of Swagger UI, which lie in the django-ninja distribution."""
    router = APIRouter(include_in_schema=False)
    folder = _asset_folder()

    @router.get("/docs")
    async def page() -> Response:
        return Response(_PAGE, media_type="text/html", headers={"content-security-policy": _CSP})

    @router.get("/docs/init.js")
    async def script() -> Response:
        return Response(_INIT, media_type="text/javascript")

    @router.get("/docs/assets/{name}")
    async def asset(name: str) -> Response:
        media_type = _ASSETS.get(name)
        if media_type is None or folder is None or not (folder / name).is_file():
            raise HeadwaterError(
                "not_found", f"there is no asset {name[:80]!r}", hint="the document is at /openapi.json"
            )
        return FileResponse(folder / name, media_type=media_type, headers={"cache-control": "public, max-age=86400"})

    return router


def _asset_folder() -> Path | None:
    """Find the folder without importing the package, which would bring in Django."""
    spec = importlib.util.find_spec("ninja")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "static" / "ninja"
