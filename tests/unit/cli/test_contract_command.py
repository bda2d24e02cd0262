"""Contract files are checked and compared without a running system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests.fakes.peer import Peer

from headwater.cli import main as entry
from headwater.contracts.odcs import parse_contract
from headwater.contracts.spec import contract_to_spec


def contract(path: Path, version: str = "1.0.0", **limits: int) -> Path:
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "readings",
        "name": "readings",
        "version": version,
        "status": "active",
        "schema": [
            {
                "name": "readings",
                "logicalType": "object",
                "properties": [{"name": "n", "logicalType": "integer", "required": True, "logicalTypeOptions": limits}],
            }
        ],
    }
    path.write_text(yaml.safe_dump(document))
    return path


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        entry.main(list(arguments))
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_a_good_contract_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("contract", "check", str(contract(tmp_path / "a.yaml"))) == 0

    assert "readings 1.0.0 is valid: 1 fields" in capsys.readouterr().out


def test_a_bad_contract_names_file_and_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("kind: DataContract\n")

    assert run("contract", "check", str(path)) == 1

    text = capsys.readouterr().err
    assert "a.yaml" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("version", "limits", "code"), [("1.1.0", {}, 0), ("1.1.0", {"minimum": 5}, 1), ("2.0.0", {"minimum": 5}, 0)]
)
def test_a_breaking_change_needs_a_new_major_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str, limits: dict[str, int], code: int
) -> None:
    old = contract(tmp_path / "old.yaml", minimum=0)
    new = contract(tmp_path / "new.yaml", version, **limits)

    assert run("contract", "check", str(old), str(new), "--json") == code

    document = json.loads(capsys.readouterr().out)
    assert document["compatible"] is (code == 0)
    assert any(change["breaking"] for change in document["changes"]) is bool(limits)


def test_the_exported_contract_is_the_one_that_was_declared(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = parse_contract(contract(tmp_path / "a.yaml", minimum=0).read_text(), source="a.yaml")
    answer = json.dumps({"schema": {"spec": contract_to_spec(declared)}}).encode()
    peer.answer = lambda _: (200, {}, answer)

    assert run("contract", "export", "readings") == 0

    assert parse_contract(capsys.readouterr().out, source="out") == declared


def test_a_contract_is_inferred_from_a_file_and_its_own_check_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "Flight Log.csv"
    rows.write_text("id,Dep Delay,carrier\n1,NA,AA\n2,4.5,UA\n")
    assert run("contract", "infer", str(rows), "--null", "NA") == 0
    text = capsys.readouterr().out
    assert "# 2 rows looked at" in text
    read = parse_contract(text, source="inferred")
    assert [(one.name, str(one.type), one.nullable) for one in read.fields] == [
        ("id", "integer", False),
        ("Dep_Delay", "number", True),
        ("carrier", "string", False),
    ]
    assert read.name == "flight_log"


def test_a_file_without_rows_has_no_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.ndjson").write_text("")
    assert run("contract", "infer", str(tmp_path / "rows.ndjson")) == 1
    assert "has no rows" in capsys.readouterr().err
