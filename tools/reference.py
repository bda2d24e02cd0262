"""Write docs/reference from the code's own registries, or check that it is up to date (``--check``)."""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic.fields import FieldInfo

from headwater.core.errors import PROBLEMS, ROW_CODES
from headwater.core.permissions import BUILT_IN_ROLES, PERMISSIONS
from headwater.core.setting_sections import Section
from headwater.core.settings import Settings

ROOT = Path(__file__).parents[1]
DIRECTORY = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "headwater"
NOTICE = "<!-- Written by `make reference`; edit the code, not this page. -->"


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    names = list(header)
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def settings_page() -> str:
    """Return every setting with its variable, type, default and meaning."""
    parts = [
        "# Settings",
        (
            "Flags win over environment variables, those over `headwater.toml` in the project directory, that over "
            "the defaults. A list in an environment variable is separated by commas. `HEADWATER_HOME` (default "
            "`.headwater`) and `HEADWATER_PROJECT` have no section."
        ),
    ]
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, Section)):
            continue
        rows = [_setting_row(name, key, info) for key, info in section.model_fields.items()]
        parts += [f"## [{name}]", section.__doc__ or "", table(["setting", "variable", "default", "meaning"], rows)]
    return "\n\n".join(parts)


def _setting_row(section: str, name: str, info: FieldInfo) -> list[str]:
    default = "none" if info.default is None else f"`{info.default}`"
    variable = f"`HEADWATER_{section.upper()}__{name.upper()}`"
    return [f"`{section}.{name}`", variable, default, info.description or ""]


def errors_page() -> str:
    """Return every stable code, of requests and of rows."""
    problems = [[f"`{code}`", str(problem.status), problem.title] for code, problem in PROBLEMS.items()]
    rows = [[f"`{code}`", meaning] for code, meaning in ROW_CODES.items()]
    return "\n\n".join(
        [
            "# Errors",
            (
                "Errors are `application/problem+json` (RFC 9457) with a stable `code`, the request's id, and a `hint` "
                "where there is a cure. Codes never change their meaning."
            ),
            "## Of requests",
            table(["code", "status", "meaning"], problems),
            "## Of rows",
            "Listed per row in the reply of an ingestion, with a JSON Pointer to the value.",
            table(["code", "meaning"], rows),
        ]
    )


def permissions_page() -> str:
    """Return the registry of permissions and what the built-in roles hold."""
    roles = list(BUILT_IN_ROLES)
    rows = [
        [f"`{name}`", meaning, *("✓" if name in BUILT_IN_ROLES[role] else "" for role in roles)]
        for name, meaning in PERMISSIONS.items()
    ]
    return "\n\n".join(
        [
            "# Permissions and roles",
            "One registry serves admin, control API and data plane. Nothing is allowed that no role grants.",
            table(["permission", "allows to", *roles], rows),
        ]
    )


def cli_page() -> str:
    """Return every command with its arguments and options."""
    commands = importlib.import_module("headwater.cli.main").COMMANDS
    parts = [
        "# Commands",
        (
            "Exit codes: 0 done, 1 it did not work (the reason and the cure are on stderr), 2 it was called wrongly. "
            "With `--json`, stdout is one JSON document and an error is one on stderr."
        ),
        (
            "Commands that talk to the services use `HEADWATER_URL`, else where `headwater up` runs them on this home, "
            "else the settings; the key is `HEADWATER_API_KEY`, else the one that the first start left in the home. "
            "`headwater plan`, `headwater apply` and `headwater models push` ask control where it runs and do the work "
            "themselves where it does not."
        ),
        "## Options of every command",
    ]
    leaves = [leaf for name in commands for leaf in command_leaves(name)]
    _, first = leaves[0]
    parts.append(_option_table(one for one in first.params if _is_common(one)))
    panel = ""
    for name, command in leaves:
        found = commands[name.split()[0]].panel
        if found != panel:
            panel = found
            parts.append(f"## {panel}")
        parts += [f"### headwater {name}", f"`{_usage(name, command)}`", inspect.cleandoc(command.help or "")]
        own = [one for one in command.params if not _is_common(one) and one.name != "help"]
        if own:
            parts.append(_option_table(own))
    return "\n\n".join(parts)


def command_leaves(name: str) -> Iterator[tuple[str, Any]]:
    """Return the commands below a name of the command line's table, each with its full name."""
    main = importlib.import_module("headwater.cli.main")
    typer_main = importlib.import_module("typer.main")
    module = importlib.import_module(f"headwater.cli.commands.{main.COMMANDS[name].module}")
    command = typer_main.get_command(module.app)
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield name, command
        return
    for sub, one in subcommands.items():
        yield f"{name} {sub}", one


def _is_common(parameter: Any) -> bool:
    return getattr(parameter, "rich_help_panel", None) == "Common"


def _usage(name: str, command: Any) -> str:
    words = [f"headwater {name}"]
    for one in command.params:
        if one.opts[0].startswith("-"):
            if one.required:
                words.append(f"{one.opts[0]} {one.name.upper()}")
            continue
        word = one.name.upper() + ("…" if one.nargs == -1 else "")
        words.append(word if one.required else f"[{word}]")
    return " ".join([*words, "[OPTIONS]"])


def _option_table(parameters: Iterable[Any]) -> str:
    rows = []
    for one in parameters:
        is_option = one.opts[0].startswith("-")
        given = ", ".join(f"`{name}`" for name in one.opts) if is_option else f"`{one.name.upper()}`"
        rows.append([given, one.help or "", _values(one)])
    return table(["", "meaning", "values"], rows)


def _values(parameter: Any) -> str:
    """Return the choices of a parameter, its default, or nothing where neither says anything."""
    choices = _choices(parameter)
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    if parameter.default not in (None, False, "", [], ()):
        return f"default `{parameter.default}`"
    return "required" if parameter.required else ""


def _choices(parameter: Any) -> list[str]:
    annotation = parameter.type_descriptor.annotation
    kinds = [annotation, *get_args(annotation)]
    return [member.value for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum) for member in kind]


class MetricFact(NamedTuple):
    """A metric as the source declares it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


_KINDS: dict[str, str] = {
    "Tally": "counter",
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "CounterMetricFamily": "counter",
    "GaugeMetricFamily": "gauge",
    "HistogramMetricFamily": "histogram",
}


def metrics_page() -> str:
    """Return every metric of our own; those of Python and of the process come from the library."""
    facts = sorted({fact for path in SOURCE.rglob("*.py") for fact in metric_facts(path)})
    parts = [
        "# Metrics",
        (
            "`GET /metrics` of services and of control answer in Prometheus' text format, without a key: let the "
            "monitoring alone reach them. With `services.workers` above 1, each answer is one worker's own. "
            "`python_…` and `process_…` are those of the Prometheus client."
        ),
    ]
    for area in dict.fromkeys(fact.name.split("_")[1] for fact in facts):
        parts += [f"## {area}", _metric_table(fact for fact in facts if fact.name.split("_")[1] == area)]
    return "\n\n".join(parts)


def metric_facts(path: Path) -> Iterator[MetricFact]:
    """Return the metrics that a module makes, read from its text: importing it all would take seconds."""
    text = path.read_text(encoding="utf-8")
    if '"headwater_' not in text:
        return
    tree = ast.parse(text)
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _KINDS):
            continue
        texts = [one.value for one in node.args[:2] if isinstance(one, ast.Constant) and isinstance(one.value, str)]
        if len(texts) == 2:  # noqa: PLR2004 - a name and what it means
            yield _fact(node, _KINDS[node.func.id], texts[0], texts[1], constants)


def _fact(call: ast.Call, kind: str, name: str, meaning: str, constants: dict[str, ast.expr]) -> MetricFact:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    labels = call.args[2] if len(call.args) > 2 else keywords.get("labels")  # noqa: PLR2004 - name, meaning, labels
    if isinstance(labels, ast.Name):
        labels = constants.get(labels.id)
    found = tuple(map(str, ast.literal_eval(labels))) if labels is not None else ()
    suffix = "_total" if kind == "counter" and not name.endswith("_total") else ""
    return MetricFact(name + suffix, kind, found, meaning)


def _metric_table(facts: Iterable[MetricFact]) -> str:
    rows = [[f"`{one.name}`", one.kind, ", ".join(f"`{x}`" for x in one.labels), one.meaning] for one in facts]
    return table(["metric", "kind", "labels", "meaning"], rows)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "permissions.md": permissions_page,
    "cli.md": cli_page,
    "metrics.md": metrics_page,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` name those that differ; return the exit code."""
    stale = []
    for name, render in PAGES.items():
        path = DIRECTORY / name
        text = f"{NOTICE}\n\n{render()}\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        sys.stderr.write(f"docs/reference is out of date: {', '.join(stale)}. Run `make reference`.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
