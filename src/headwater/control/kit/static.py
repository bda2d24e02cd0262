"""Static files served by the control process itself, from the packages that bring them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """WhiteNoise over Django's finders, and async: a sync middleware would hold a thread for every long poll."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        """Index every static file of every app once."""
        super().__init__(get_response, settings=_FromFinders())
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer with the file at this path, or pass the request on."""
        file = self.files.get(request.path_info)
        if file is None:
            return cast("HttpResponseBase | Awaitable[HttpResponseBase]", self.get_response(request))
        if iscoroutinefunction(self):
            return self._serve_async(file, request)
        return cast("HttpResponseBase", self.serve(file, request))

    async def _serve_async(self, file: Any, request: HttpRequest) -> HttpResponseBase:
        response = self.serve(file, request)
        if response.streaming:
            # Under ASGI a sync file iterator would be buffered with a warning; these files are small.
            content = b"".join(response.streaming_content)
            response.streaming_content = _once(content)
        return cast("HttpResponseBase", response)


async def _once(content: bytes) -> Any:
    yield content


class _FromFinders:
    """Django's settings, with WhiteNoise told to use the finders."""

    WHITENOISE_USE_FINDERS = True
    WHITENOISE_AUTOREFRESH = False
    WHITENOISE_ALLOW_ALL_ORIGINS = False
    WHITENOISE_MAX_AGE = 3600

    def __getattr__(self, name: str) -> Any:
        return getattr(settings, name)
