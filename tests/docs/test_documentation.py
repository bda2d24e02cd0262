"""What there is, is documented; what the documentation points at, is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from tests.docs.generator import GENERATOR
from tests.docs.pages import DOCS, ROOT, anchors, links, pages, spans

from headwater.cli.main import COMMANDS
from headwater.core.errors import PROBLEMS, ROW_CODES
from headwater.core.permissions import BUILT_IN_ROLES, PERMISSIONS
from headwater.core.setting_sections import Section
from headwater.core.settings import Settings

REFERENCE = DOCS / "reference"


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def test_the_generated_pages_are_what_the_code_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert GENERATOR.main(["--check"]) == 0, capsys.readouterr().err


def test_a_generated_page_that_lags_behind_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(GENERATOR, "DIRECTORY", tmp_path)
    assert GENERATOR.main([]) == 0
    assert GENERATOR.main(["--check"]) == 0
    page = tmp_path / "errors.md"
    page.write_text(page.read_text(encoding="utf-8").replace("`not_found`", "`lost`"), encoding="utf-8")

    assert GENERATOR.main(["--check"]) == 1

    assert "errors.md" in capsys.readouterr().err


def test_every_setting_is_documented_with_its_variable() -> None:
    text = read("settings.md")
    for section, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            for name, info in kind.model_fields.items():
                assert f"`{section}.{name}`" in text
                assert f"`HEADWATER_{section.upper()}__{name.upper()}`" in text
                assert info.description, f"{section}.{name} says nothing about itself"


def test_every_code_is_documented() -> None:
    text = read("errors.md")
    missing = [code for code in (*PROBLEMS, *ROW_CODES) if f"`{code}`" not in text]
    assert not missing


def test_every_permission_and_role_is_documented() -> None:
    text = read("permissions.md")
    assert not [name for name in PERMISSIONS if f"`{name}`" not in text]
    assert not [role for role in BUILT_IN_ROLES if role not in text]


def test_every_command_is_documented_with_its_options() -> None:
    text = read("cli.md")
    for name, command in (leaf for group in COMMANDS for leaf in GENERATOR.command_leaves(group)):
        section = text.partition(f"### headwater {name}\n")[2].partition("\n### ")[0]
        assert section, f"headwater {name} has no section"
        options = [one for one in command.params if one.opts[0].startswith("-") and one.name != "help"]
        common = text.partition("## Options of every command")[2].partition("\n## ")[0]
        assert not [one.opts[0] for one in options if f"`{one.opts[0]}`" not in section + common]


def test_every_metric_in_the_source_is_documented() -> None:
    text = read("metrics.md")
    named = set()
    for path in (ROOT / "src").rglob("*.py"):
        named |= set(re.findall(r'"(headwater_(?:control|services|ingest|query|inference)_\w+)"', path.read_text()))
    assert len(named) > 10
    assert not [name for name in sorted(named) if f"`{name}`" not in text and f"`{name}_total`" not in text]


def test_every_route_in_the_text_is_one_of_the_services() -> None:
    # Read from the source: building the applications would take seconds, a home and a journal.
    strings = {
        text
        for path in (ROOT / "src/headwater/services").rglob("*.py")
        for text in re.findall(r'"(/[a-z][^" ]*)"', path.read_text(encoding="utf-8"))
    }
    known = {without_names(place) for text in strings for place in (text, f"/v1{text}")}
    told = {
        (page.name, place)
        for page in pages()
        for span in spans(page)
        for place in re.findall(r"(?:GET|POST|PUT) (/[^ ?…]+)$", span)
        if not place.startswith("/api/")
    }
    assert len(told) > 15
    assert not {(page, place) for page, place in told if without_names(place) not in known}


def without_names(path: str) -> str:
    """Return a route with all its parameters alike; a concrete dataset, endpoint, model or receipt is one too."""
    path = re.sub(r"\{[^}]*\}|<[^>]*>", "*", path)
    return re.sub(r"(/v1/(?:datasets|endpoints|models|receipts))/[^/*]+", r"\1/*", path)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{target} is not there"
        assert place.is_relative_to(ROOT), f"{target} leaves the repository"
        assert not anchor or anchor in anchors(place), f"{target}: there is no such heading"


def test_every_page_can_be_found_from_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / target.partition("#")[0]).resolve() for target in links(index)}
    assert not [page for page in DOCS.rglob("*.md") if page != index and page not in linked]
    assert index in {(ROOT / target).resolve() for target in links(ROOT / "README.md")}


def test_pages_load_nothing_from_the_internet() -> None:
    loading = re.compile(r"!\[[^\]]*\]\(\s*(?:https?:)?//|<(?:img|script|link|iframe)\b[^>]*(?:https?:)?//")
    templates = [*(ROOT / "src").rglob("*.html"), ROOT / "src/headwater/services/kit/docs.py"]
    assert len(templates) > 1
    for page in (*pages(), *templates):
        found = loading.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.relative_to(ROOT)}: {found}"


def test_every_dependency_has_its_line_of_reasons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {re.split(r"[\[<>=!;, ]", one, maxsplit=1)[0].lower() for one in wanted} - {"headwater"}
    rows = [line for line in (DOCS / "adr/0003-dependencies.md").read_text().splitlines() if line.startswith("| ")]
    explained = {word for row in rows for word in re.findall(r"[a-z0-9][a-z0-9.-]+", row.split("|")[1].lower())}
    assert not names - explained
    assert len(rows) > 10


def test_decisions_are_numbered_without_gaps() -> None:
    decisions = sorted((DOCS / "adr").glob("*.md"))
    for number, page in enumerate(decisions, start=1):
        assert page.name.startswith(f"{number:04}-")
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ")
        assert "**Decision.**" in text
