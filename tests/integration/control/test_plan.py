"""``headwater plan`` where no control runs: it says what would change, and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.builders.onnx_models import linear
from tests.builders.projects import DELAY_MODEL, WORST, flights


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name, text in {
        "datasets/flights.yaml": flights(),
        "endpoints/worst.sql": WORST,
        "models/delay/model.yaml": DELAY_MODEL,
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "models/delay/model.onnx").write_bytes(linear([1.0, 2.0]))
    return folder


def headwater(*words: str, home: Path, **more: str) -> Any:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DJANGO_"))}
    outcome = subprocess.run(
        [sys.executable, "-m", "headwater", *words, "--home", str(home), "--json"],
        env=kept | more,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    return json.loads(outcome.stdout)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def actions(answer: Any) -> dict[str, str]:
    return {change["name"]: change["action"] for change in answer["changes"]}


def test_a_plan_for_a_home_that_does_not_exist_makes_none(tmp_path: Path, project: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    planned = headwater("plan", str(project), home=tmp_path / "home", TMPDIR=str(scratch))

    assert planned["dry_run"]
    assert actions(planned) == dict.fromkeys(("flights", "worst", "delay"), "create")
    assert not (tmp_path / "home").exists()
    assert not list(scratch.glob("headwater-*"))


def test_a_plan_leaves_a_home_as_it_is_and_knows_what_was_applied(tmp_path: Path, project: Path) -> None:
    home = tmp_path / "home"
    headwater("apply", str(project), home=home)
    before = contents(home)
    (project / "endpoints/other.sql").write_text(WORST)

    planned = headwater("plan", str(project), home=home)

    assert actions(planned) == {**dict.fromkeys(("flights", "worst", "delay"), "unchanged"), "other": "create"}
    assert contents(home) == before

    elsewhere = headwater("plan", str(project), home=home, HEADWATER_TARGET__ENVIRONMENT="production")
    assert actions(elsewhere)["flights"] == "update"
    assert contents(home) == before
