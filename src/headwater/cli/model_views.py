"""What is known about models, drawn for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console

from headwater.cli.tables import draw_table, shown

_STYLES = {"passed": "green", "failed": "red", "warned": "yellow", "skipped": "dim"}


def draw_models(console: Console, models: Iterable[Mapping[str, Any]], environment: str) -> None:
    """Write one line a model."""
    rows = [
        (
            model["name"],
            model.get("newest"),
            ", ".join(f"{alias} = {number}" for alias, number in model.get("aliases", {}).items()),
            ", ".join(map(route_text, model.get("routes", {}).get(environment, ()))),
            model.get("description"),
        )
        for model in models
    ]
    draw_table(console, ("model", "newest", "aliases", "routes", "description"), rows)


def draw_model(
    console: Console,
    model: Mapping[str, Any],
    versions: Sequence[Mapping[str, Any]],
    deployments: Sequence[Mapping[str, Any]],
    rollouts: Sequence[Mapping[str, Any]],
) -> None:
    """Write what a model is, what it serves where, and how that came about."""
    console.print(shown(f"{model['name']}  {model.get('description', '')}"))
    for item in deployments:
        routes = ", ".join(map(route_text, item["routes"]))
        fallback = f"; falls back to {item['fallback']}" if item.get("fallback") else ""
        console.print(shown(f"{item['environment']}: {routes}{fallback}"))
    rows = [
        (
            version["number"],
            version["state"],
            version["framework"],
            ", ".join(version.get("aliases", ())),
            numbers_text(version.get("metrics", {})),
            ", ".join(version.get("failed_checks", ())),
            version.get("pushed_by"),
            _minute(version["created_at"]),
        )
        for version in versions
    ]
    columns = ("version", "state", "framework", "aliases", "metrics", "failed checks", "pushed by", "at")
    draw_table(console, columns, rows)
    if rollouts:
        table = [
            (
                item["number"],
                item["cause"].replace("_", " "),
                ", ".join(map(route_text, item["routes"])),
                item["by"],
                item["reason"],
                _minute(item["at"]),
            )
            for item in rollouts
        ]
        draw_table(console, ("rollout", "cause", "routes", "by", "why", "at"), table)


def draw_version(console: Console, name: str, version: Mapping[str, Any]) -> None:
    """Write all about a version."""
    facts = {
        "state": version["state"],
        "framework": version["framework"],
        "aliases": ", ".join(version["aliases"]),
        "artifact": version["artifact_sha256"],
        "license": version["license"],
        "metrics": numbers_text(version["metrics"]),
        "trained on": _training_text(version["training"]),
        "reads": ", ".join(
            f"{edge['name']} ({', '.join(edge['members'])})"
            for edge in version["lineage"]
            if edge["kind"] == "reads_view"
        ),
        "approved by": "; ".join(f"{item['by']}: {item['reason']}" for item in version["approvals"]),
        "pushed by": f"{version['pushed_by']}, {_minute(version['created_at'])}",
        "report": version.get("report_url", ""),  # of a control that is older there is none
    }
    console.print(shown(f"{name} version {version['number']}"))
    for label, value in facts.items():
        if value:
            console.print(shown(f"  {label}: {value}"))
    draw_checks(console, version["checks"])
    if version["card"]:
        console.print(shown(version["card"]))


def draw_checks(console: Console, checks: Iterable[Mapping[str, Any]]) -> None:
    """Write what checks found, a line each."""
    for check in checks:
        text = shown(f"  {check['status']:8}{check['name']}  {check['detail']}".rstrip())
        console.print(text, style=_STYLES.get(str(check["status"]), ""))


def draw_changes(console: Console, changes: Iterable[str]) -> None:
    """Write what versions and aliases were, and are now, a line each."""
    for change in changes:
        console.print(shown(f"  {change}"))


def route_text(route: Mapping[str, Any]) -> str:
    """Return a route such as ``2 canary 10%``."""
    if route["role"] == "pinned":
        return f"{route['version']} pinned"
    return f"{route['version']} {route['role']} {route['weight_bps'] / 100:g}%"


def numbers_text(numbers: Mapping[str, Any]) -> str:
    """Return metrics on one line."""
    return ", ".join(f"{name} {value:.6g}" for name, value in numbers.items())


def _training_text(training: Mapping[str, Any]) -> str:
    if not training:
        return ""
    version = f" version {training['version']}" if training.get("version") is not None else ""
    code = f", code {training['code']}" if training.get("code") else ""
    rows = f", {training['rows']:,} rows" if training.get("rows") else ""
    return f"{training.get('dataset', '')}{version}{rows}{code}"


def _minute(instant: str) -> str:
    return instant[:16].replace("T", " ")
