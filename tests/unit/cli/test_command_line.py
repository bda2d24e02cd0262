"""The command line: what it lists, what it imports, how it fails."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import headwater
from headwater.cli import main as entry
from headwater.cli.failure import explain
from headwater.client import ApiError, Unreachable
from headwater.core.errors import HeadwaterError


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        entry.main(list(arguments))
    code = caught.value.code
    assert isinstance(code, int)
    return code


def leaves(name: str) -> Iterator[tuple[str, Any]]:
    """Return every command that does something, below a name of the table."""
    module = importlib.import_module(f"headwater.cli.commands.{entry.COMMANDS[name].module}")
    command = typer.main.get_command(module.app)
    if isinstance(command, TyperGroup):
        yield from ((f"{name} {sub}", one) for sub, one in command.commands.items())
    else:
        yield name, command


LEAVES = [leaf for name in entry.COMMANDS for leaf in leaves(name)]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0

    text = capsys.readouterr().out
    assert all(name in text for name in entry.COMMANDS)


@pytest.mark.parametrize("command", [[], ["ingest"], ["models", "push"]])
def test_help_gives_no_type_to_what_takes_no_value(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0

    assert "<bool>" not in capsys.readouterr().out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom headwater.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'django', 'fastapi', 'httpx', 'pyarrow', 'celery', 'pydantic', 'duckdb'}\n"
        "sys.stderr.write(','.join(sorted(heavy & set(sys.modules))))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert outcome.stderr == ""


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_command_takes_home_project_and_json_and_says_what_it_does(name: str, command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}

    # What is made has no home yet; Django's own commands say things their own way; an export is JSON already.
    wanted = {"new": {"--json"}, "manage": {"--home", "--project"}, "audit export": {"--home", "--project"}}
    assert wanted.get(name, {"--home", "--project", "--json"}) <= options, name
    assert command.help
    assert all(parameter.help for parameter in command.params), name


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"headwater {headwater.__version__}\n"


def test_a_mistake_that_the_sentence_names_is_not_named_again(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"path": "email", "message": "Enter an address."}, {"path": "name", "message": "Too long."}]
    error = HeadwaterError("invalid_parameter", "'x': Enter an address.", extra={"errors": errors})

    assert explain(error, as_json=False) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: 'x': Enter an address. (invalid_parameter)",
        "  name: Too long.",
    ]


def test_the_same_mistake_in_other_places_is_named_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"path": path, "message": "'integr' is no type."} for path in ("year", "month", "day")]
    error = HeadwaterError("contract_invalid", "year: 'integr' is no type. (and 2 more)", extra={"errors": errors})

    explain(error, as_json=False)

    assert capsys.readouterr().err.splitlines()[1:] == ["  month: 'integr' is no type.", "  day: 'integr' is no type."]


def test_a_busy_database_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    from django.db import OperationalError

    assert explain(OperationalError("database is locked"), as_json=False) == 1
    told = capsys.readouterr().err
    assert "database is locked (config_unavailable)" in told
    assert "Traceback" not in told


def test_a_terminal_without_a_letter_gets_its_code(tmp_path: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "headwater", "contract", "check", str(tmp_path / "zürich.yaml")],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
    )
    assert outcome.returncode == 1
    assert b"z\\xfcrich.yaml: No such file" in outcome.stderr
    assert b"Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    "arguments", [["nope"], ["serve"], ["serve", "nothing"], ["ingest", "d"], ["up", "--control-port", "70000"]]
)
def test_a_wrong_call_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["serve", "sealer", "--port", "1"], "--port"),
        (["serve", "control", "--only", "ingest"], "--only"),
        (["query", "e", "novalue"], "name=value"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    assert word in capsys.readouterr().err


def test_a_bad_setting_names_itself_and_where_it_was_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "headwater.toml").write_text("[control]\nprot = 1\n")

    assert run("doctor", "--project", str(tmp_path)) == 2

    text = capsys.readouterr().err
    assert "control.prot" in text
    assert "headwater.toml" in text


def test_a_home_that_cannot_be_used_is_told_with_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "FORMAT").write_text("99\n")

    assert run("serve", "sealer", "--home", str(tmp_path)) == 1

    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert "home_version" in text
    assert "hint: " in text
    assert "Traceback" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["FORMAT"]


def test_errors_are_json_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", "e", "--home", str(tmp_path), "--json") == 1

    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "unauthenticated"
    assert error["hint"]


def test_every_error_of_a_project_is_listed_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"source": f"datasets/{n}.yaml", "path": "schema[0]", "message": "bad"} for n in range(25)]

    assert explain(HeadwaterError("project_invalid", extra={"errors": errors}), as_json=False) == 1

    text = capsys.readouterr().err
    assert "datasets/0.yaml:schema[0]: bad" in text
    assert "and 5 more" in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            ApiError(404, {"code": "dataset_not_found", "detail": "no", "hint": "see the list"}, headers={}),
            "see the list",
        ),
        (Unreachable("http://x", OSError("refused")), "headwater doctor"),
        (FileNotFoundError(2, "No such file or directory", "rows.csv"), "rows.csv: No such file"),
    ],
)
def test_what_a_person_can_mend_has_no_traceback(
    error: Exception, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(error, as_json=False) == 1

    text = capsys.readouterr().err
    assert words in text
    assert "Traceback" not in text


def test_a_bug_shows_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError) as caught:
        dict[str, str]()["surprise"]
    assert explain(caught.value, as_json=False) == 1

    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "report" in text
