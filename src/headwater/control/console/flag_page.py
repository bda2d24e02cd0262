"""What a flag's page shows: its rules as sentences, an answer with the way to it, and how applications ask."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from django import forms

from headwater.control.console.forms import ConsoleForm, sentence
from headwater.control.console.snippets import KEY, Snippet, services_url
from headwater.control.flags.models import Flag, FlagConfig
from headwater.control.flags.preview import Preview, preview
from headwater.control.flags.words import rule_in_words
from headwater.core.errors import HeadwaterError

_CALLS: Mapping[str, tuple[str, str]] = {
    "boolean": ("boolean", "False"),
    "string": ("string", '""'),
    "integer": ("integer", "0"),
    "number": ("float", "0.0"),
    "object": ("object", "{}"),
}
_BROWSER: Mapping[str, tuple[str, str]] = {
    "boolean": ("Boolean", "false"),
    "string": ("String", '""'),
    "integer": ("Number", "0"),
    "number": ("Number", "0"),
    "object": ("Object", "{}"),
}


class TryForm(ConsoleForm):
    """Whom to ask about."""

    context = forms.CharField(
        label="Context", widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "spellcheck": "false"}),
        help_text="A JSON object: targetingKey says who is asked about, rules look at the rest.",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tried:
    """An answer for the context that was typed, or what is wrong with that."""

    found: Preview | None
    problem: str = ""

    @property
    def value(self) -> str:
        """Return the value as JSON."""
        return "" if self.found is None else json.dumps(self.found.outcome.value, ensure_ascii=False)


def tried(config: FlagConfig, query: Mapping[str, Any]) -> Tried:
    """Return what a flag answers for the context in a query."""
    try:
        context = json.loads(query.get("context") or "{}")
    except (ValueError, RecursionError) as error:
        return Tried(None, f"The context is not JSON: {error}.")
    if not isinstance(context, dict):
        return Tried(None, 'The context is a JSON object, such as {"targetingKey": "user-1"}.')
    try:
        return Tried(preview(config.environment, config.flag.key, context))
    except HeadwaterError as error:
        return Tried(None, sentence(error))


def rules_of(config: FlagConfig) -> list[tuple[str, str]]:
    """Return each rule as a sentence with its description."""
    found = []
    for rule in config.rules:
        words = rule_in_words(rule)
        found.append((words[:1].upper() + words[1:], rule.get("description", "")))
    return found


def snippets_of(flag: Flag) -> list[Snippet]:
    """Return how applications ask: over HTTP, and by the OpenFeature SDKs."""
    url = services_url()
    path = f"{url}/ofrep/v1/evaluate/flags/{quote(flag.key)}"
    call, default = _CALLS[flag.type]
    browser, fallback = _BROWSER[flag.type]
    body = '{"context": {"targetingKey": "user-1"}}'
    curl = [
        f"curl {path}",
        f'     -H "Authorization: Bearer ${KEY}"',
        "     -H 'Content-Type: application/json'",
        f"     -d '{body}'",
    ]
    python = [
        "# pip install openfeature-sdk openfeature-provider-ofrep",
        "import os",
        "from openfeature import api",
        "from openfeature.contrib.provider.ofrep import OFREPProvider",
        "from openfeature.evaluation_context import EvaluationContext",
        "",
        f'headers = {{"Authorization": "Bearer " + os.environ["{KEY}"]}}',
        f'api.set_provider(OFREPProvider("{url}", headers_factory=lambda: headers))',
        f'value = api.get_client().get_{call}_value("{flag.key}", {default}, EvaluationContext("user-1"))',
    ]
    typescript = [
        "// npm install @openfeature/server-sdk @openfeature/ofrep-provider",
        'import { OpenFeature } from "@openfeature/server-sdk";',
        'import { OFREPProvider } from "@openfeature/ofrep-provider";',
        "",
        f'const headers: [string, string][] = [["Authorization", `Bearer ${{process.env.{KEY}}}`]];',
        f'await OpenFeature.setProviderAndWait(new OFREPProvider({{ baseUrl: "{url}", headers }}));',
        "const client = OpenFeature.getClient();",
        f'const value = await client.get{browser}Value("{flag.key}", {fallback}, {{ targetingKey: "user-1" }});',
    ]
    return [
        Snippet("curl", "curl", " \\\n".join(curl)),
        Snippet("python", "Python", "\n".join(python)),
        Snippet("typescript", "TypeScript", "\n".join(typescript)),
    ]
