"""The same call in curl, Python and TypeScript, ready to paste: the real address, a placeholder for the key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from headwater.control import configuration

KEY: Final = "HEADWATER_API_KEY"
"""The environment variable that the command line and the SDK read; no snippet holds a key itself."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A call in one language. ``id`` ties the tabs of a page together."""

    id: str
    title: str
    code: str


def services_url() -> str:
    """Return where the data plane answers."""
    return configuration.current().services_url.rstrip("/")


def ingest_snippets(dataset: str, row: Mapping[str, Any]) -> list[Snippet]:
    """Return how to send ``row`` to a dataset."""
    url = f"{services_url()}/v1/datasets/{quote(dataset)}/rows"
    body = json.dumps([row], ensure_ascii=False)
    return [
        _curl(url, body),
        _python([f'client.ingest("{dataset}", [', f"    {_python_value(row)},", "])"], shows="counts"),
        _typescript(url, json.dumps([row], ensure_ascii=False, indent=2)),
    ]


def query_snippets(endpoint: str, parameters: Mapping[str, Any]) -> list[Snippet]:
    """Return how to ask a SQL endpoint."""
    query = f"?{urlencode(parameters)}" if parameters else ""
    url = f"{services_url()}/v1/endpoints/{quote(endpoint)}{query}"
    given = f", {_python_value(parameters)}" if parameters else ""
    return [
        _curl(url),
        _python([f'client.query("{endpoint}"{given})'], shows="rows"),
        _typescript(url),
    ]


def predict_snippets(model: str, row: Mapping[str, Any]) -> list[Snippet]:
    """Return how to ask a model about ``row``."""
    url = f"{services_url()}/v1/models/{quote(model)}/predict"
    return [
        _curl(url, json.dumps({"rows": [row]}, ensure_ascii=False)),
        _python([f'client.predict("{model}", [{_python_value(row)}])'], shows="predictions"),
        _typescript(url, json.dumps({"rows": [row]}, ensure_ascii=False, indent=2)),
    ]


def feature_snippets(view: str, keys: Mapping[str, Any]) -> list[Snippet]:
    """Return how to read the features of one entity."""
    url = f"{services_url()}/v1/features/{quote(view)}/read"
    body = {"entities": [keys]}
    return [
        _curl(url, json.dumps(body, ensure_ascii=False)),
        _python([f'client.read_features("{view}", [{_python_value(keys)}])']),
        _typescript(url, json.dumps(body, ensure_ascii=False, indent=2)),
    ]


def _curl(url: str, body: str = "") -> Snippet:
    lines = [f"curl {_shell(url)}", f'     -H "Authorization: Bearer ${KEY}"']
    if body:
        lines += ["     -H 'Content-Type: application/json'", f"     -d {_shell(body)}"]
    return Snippet("curl", "curl", " \\\n".join(lines))


def _python(call: Iterable[str], shows: str = "") -> Snippet:
    first, *rest = call
    lines = [
        "from headwater.client import Client",
        "",
        f'with Client("{services_url()}") as client:  # reads {KEY}',
        f"    reply = {first}",
        *[f"    {line}" for line in rest],
        f"    print(reply{'.' + shows if shows else ''})",
    ]
    return Snippet("python", "Python", "\n".join(lines))


def _typescript(url: str, body: str = "") -> Snippet:
    headers = f"{{ Authorization: `Bearer ${{process.env.{KEY}}}`"
    headers += ', "Content-Type": "application/json" }' if body else " }"
    lines = [f"const reply = await fetch({json.dumps(url)}, {{"]
    if body:
        lines += ['  method: "POST",', f"  headers: {headers},"]
        lines += [f"  body: JSON.stringify({body.replace(chr(10), chr(10) + '  ')}),"]
    else:
        lines += [f"  headers: {headers},"]
    lines += ["});", "if (!reply.ok) throw new Error((await reply.json()).detail);", "console.log(await reply.json());"]
    return Snippet("typescript", "TypeScript", "\n".join(lines))


def _python_value(value: Any) -> str:
    """Return plain data as Python writes it, in double quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_python_value(key)}: {_python_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_python_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
