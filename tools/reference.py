"""Write docs/reference from the code's own registries, or check that it is up to date (``--check``)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic.fields import FieldInfo

from headwater.core.errors import PROBLEMS, ROW_CODES
from headwater.core.permissions import BUILT_IN_ROLES, PERMISSIONS
from headwater.core.settings import Section, Settings

DIRECTORY = Path(__file__).parents[1] / "docs" / "reference"
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


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "errors.md": errors_page,
    "permissions.md": permissions_page,
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
