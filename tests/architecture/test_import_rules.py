"""Each import rule catches the violation it is there for: a rule that cannot fail would be decoration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")

VIOLATIONS = [
    ("layers", "contracts/model.py", "import headwater.engines.journal.protocol"),
    ("layers", "jobs/__init__.py", "import headwater.services.kit.service"),
    ("no-django-below-control", "services/ingest/__init__.py", "def late() -> None:\n    import django.conf\n"),
    ("no-django-below-control", "engines/lake/__init__.py", "import celery"),
    ("no-fastapi-in-control", "control/__init__.py", "import fastapi"),
    (
        "no-fastapi-in-control",
        "control/__init__.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from starlette.requests import Request\n",
    ),
    ("pure-core", "core/ids.py", "import orjson"),
    ("independent-services", "services/query/__init__.py", "import headwater.services.ingest"),
    ("independent-services", "services/kit/__init__.py", "import headwater.services.query"),
    ("control-layers", "control/kit/__init__.py", "import headwater.control.orgs.models"),
    (
        "control-layers",
        "control/access/queries.py",
        "def late() -> None:\n    import headwater.control.snapshots.publish\n",
    ),
    ("standalone-client", "client/__init__.py", "import headwater.core.errors"),
]


def lint(source: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run the import linter over a copy of the source with the project's own configuration."""
    command = [str(LINTER), "--no-cache", "--config", str(ROOT / "pyproject.toml")]
    for contract in contracts:
        command += ["--contract", contract]
    environment = {**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"}
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "src"


def test_the_source_as_it_stands_breaks_no_rule(source: Path) -> None:
    outcome = lint(source)

    assert outcome.returncode == 0, outcome.stdout
    assert " 0 broken" in outcome.stdout


@pytest.mark.parametrize(("contract", "module", "line"), VIOLATIONS)
def test_an_injected_import_is_caught_by_its_rule(source: Path, contract: str, module: str, line: str) -> None:
    path = source / "headwater" / module
    path.write_text(f"{path.read_text()}\n{line}\n")

    outcome = lint(source, contract)

    assert outcome.returncode == 1, outcome.stdout
    assert "1 broken" in outcome.stdout
