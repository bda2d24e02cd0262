"""A new project is whole, valid and runs as it is; or nothing of it is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from headwater.cli.main import main
from headwater.cli.scaffold import Shape, write_project
from headwater.contracts.odcs import parse_contract
from headwater.core.errors import HeadwaterError


def files(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("shape", Shape)
def test_every_shape_has_a_dataset_and_an_endpoint_to_begin_with(tmp_path: Path, shape: Shape) -> None:
    written = write_project(tmp_path / "shop", shape)
    found = files(tmp_path / "shop")
    assert set(written) == found
    assert {"headwater.toml", "README.md", "datasets/orders.yaml", "endpoints/revenue.sql"} <= found
    assert ("services/orders.py" in found) == (shape is not Shape.PLATFORM)
    assert ("control/desk/apps.py" in found) == (shape is not Shape.API)
    assert not any("__NAME__" in (tmp_path / "shop" / name).read_text() for name in found)
    parse_contract((tmp_path / "shop" / "datasets" / "orders.yaml").read_text(), source="orders.yaml")


def test_what_is_python_compiles(tmp_path: Path) -> None:
    write_project(tmp_path / "shop", Shape.HYBRID)
    for path in (tmp_path / "shop").rglob("*.py"):
        compile(path.read_text(), path, "exec")


def test_the_readme_tells_of_what_the_shape_has(tmp_path: Path) -> None:
    write_project(tmp_path / "shop", Shape.API)
    text = (tmp_path / "shop" / "README.md").read_text()
    assert text.startswith("# shop")
    assert "services/orders.py" in text
    assert "control/desk" not in text
    assert "__MORE__" not in text


@pytest.mark.parametrize("name", ["Shop", "1shop", "a shop", "s" * 64])
def test_a_name_that_no_project_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HeadwaterError, match="cannot be a project's name"):
        write_project(tmp_path / name, Shape.API)
    assert files(tmp_path) == set()


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mine.txt").write_text("mine")
    with pytest.raises(HeadwaterError, match="is there already"):
        write_project(tmp_path / "shop", Shape.API)
    assert files(tmp_path) == {"shop/mine.txt"}


def test_an_empty_directory_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    assert write_project(tmp_path / "shop", Shape.API)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(HeadwaterError, match="No space left"):
        write_project(tmp_path / "shop", Shape.API)
    assert list(tmp_path.iterdir()) == []


def test_the_command_lists_the_files_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["new", str(tmp_path / "shop"), "--shape", "platform", "--json"])
    assert ended.value.code in (0, None)
    document = json.loads(capsys.readouterr().out)
    assert document["shape"] == "platform"
    assert set(document["files"]) == files(tmp_path / "shop")
