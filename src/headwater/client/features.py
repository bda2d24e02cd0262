"""The calls about features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from headwater.client.calls import Call, checked, read_object, segment
from headwater.client.encoding import encode_rows
from headwater.client.errors import ClientError

LABEL_TYPES: Final = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".arrow": "application/vnd.apache.arrow.stream",
}
Labels = Iterable[Mapping[str, Any]] | Path


def list_views() -> Call[list[dict[str, Any]]]:
    """List the feature views."""
    return Call("GET", "/v1/features", _read_list)


def read(view: str, entities: Iterable[Mapping[str, Any]]) -> Call[dict[str, Any]]:
    """Read the features of entities as they are now."""
    body = b'{"entities":[' + b",".join(encode_rows(entities)) + b"]}"
    headers = {"Content-Type": "application/json"}
    return Call("POST", f"/v1/features/{segment(view)}/read", read_object, headers=headers, body=body)


def history(view: str, labels: Labels, *, time: str | None, form: str) -> Call[bytes]:
    """Join labels with the features at their times; a file's name says its format."""
    if isinstance(labels, Path):
        media = LABEL_TYPES.get(labels.suffix.lower())
        if media is None:
            raise ClientError(f"the format of {labels.name} is not clear from its name; use .csv, .json or .arrow")
        body = labels.read_bytes()
    else:
        media, body = "application/json", b'{"labels":[' + b",".join(encode_rows(labels)) + b"]}"
    params = [("format", form), *([("time", time)] if time is not None else [])]
    return Call(
        "POST",
        f"/v1/features/{segment(view)}/history",
        lambda response: checked(response).content,
        params=tuple(params),
        headers={"Content-Type": media},
        body=body,
    )


def rows_of(body: bytes) -> list[dict[str, Any]]:
    """Return the rows of a frame that came as JSON."""
    rows: list[dict[str, Any]] = json.loads(body)["data"]
    return rows


def _read_list(response: httpx.Response) -> list[dict[str, Any]]:
    body = checked(response).json()
    if not isinstance(body, list):
        raise ClientError(f"the server answered {type(body).__name__} where a list was expected")
    return body
