"""What the client raises: ``ApiError`` for an answer that is a problem, ``Unreachable`` for no answer at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import httpx

_SHOWN_BODY: Final = 200


class ClientError(Exception):
    """The base of everything that the client raises on purpose."""


class Unreachable(ClientError):
    """No answer came, after every retry."""

    def __init__(self, url: str, cause: Exception) -> None:
        """Keep what was called and the last failure."""
        reason = str(cause) or type(cause).__name__
        super().__init__(f"no answer from {url}: {reason}")
        self.url = url
        self.cause = cause


class ApiError(ClientError):
    """An answer that is an error, read from its problem document (RFC 9457).

    Attributes:
        status: the HTTP status.
        code: the stable code, such as ``dataset_not_found``; ``http_<status>`` when the answer names none.
        detail: one sentence about this occurrence.
        hint: what to do about it, if the server said so.
        retry_after_seconds: how long to wait before trying again, if the server said so.
        request_id: what to quote to the operator.
        problem: the whole document.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], *, headers: Mapping[str, str]) -> None:
        """Read the members of ``problem``."""
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code") or f"http_{status}")
        self.detail = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
        self.hint: str | None = problem.get("hint")
        self.retry_after_seconds = retry_after(headers)
        self.request_id: str | None = problem.get("request_id") or headers.get("hw-request-id")
        super().__init__(f"{self.detail} ({self.code})")

    @classmethod
    def from_response(cls, response: httpx.Response) -> ApiError:
        """Build the error from an answer, whatever its body is."""
        try:
            problem = json.loads(response.content)
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            text = response.text.strip()[:_SHOWN_BODY]
            problem = {"detail": f"the server answered {response.status_code}" + (f": {text}" if text else "")}
        return cls(response.status_code, problem, headers=response.headers)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header, or None when there is none in seconds."""
    try:
        return max(0.0, float(headers["retry-after"]))
    except (KeyError, ValueError):
        return None
