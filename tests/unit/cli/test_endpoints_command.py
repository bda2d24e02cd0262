"""``headwater endpoints`` against a scripted server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.peer import Answer, Peer, Request

from headwater.cli import main as entry

FILE = """/*
version: 2
parameters: {carrier: {type: string}}
examples:
  - {carrier: AA, expect: [{carrier: AA, n: 3, mean: 0.3}]}
  - {carrier: BB, expect: expected/bb.json}
  - {carrier: CC}
*/
SELECT carrier, count(*) AS n, avg(delay) AS mean FROM flights WHERE carrier = $carrier GROUP BY 1
"""
LISTED: dict[str, Any] = {
    "name": "daily", "version": 1, "description": "Flights", "revision": 4, "tables": ["flights"], "uses": ["base@1"],
    "parameters": [
        {"name": "ids", "type": "integer", "is_list": True, "required": False, "default": None, "relative": None}
    ],
    "columns": [{"name": "n", "type": "BIGINT"}], "origins": {"n": [{"table": "flights", "column": "id"}]},
    "deprecated_at": "2026-01-01T00:00:00Z", "sunset_at": None, "problem": None,
}  # fmt: skip


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        entry.main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def project(tmp_path: Path, peer: Peer) -> Path:
    (tmp_path / "project/endpoints").mkdir(parents=True)
    (tmp_path / "project/endpoints/daily@2.sql").write_text(FILE)

    def answer(request: Request) -> Answer:
        if request.path == "/v1/endpoints":
            newest = LISTED | {"version": 2, "deprecated_at": None}
            body: dict[str, Any] = {"endpoints": [LISTED, newest]}
        else:
            carrier = request.path.rpartition("=")[2]
            body = {"meta": {}, "data": [{"carrier": carrier, "n": 3, "mean": 0.1 + 0.2}]}
        return 200, {"content-type": "application/json"}, json.dumps(body).encode()

    peer.answer = answer
    return tmp_path / "project"


def test_examples_are_called_as_their_version_and_held_against_what_they_expect(
    peer: Peer, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("endpoints", "test", "--project", str(project)) == 1
    text = capsys.readouterr().out
    assert "expected/bb.json cannot be read" in " ".join(text.split())
    assert "3 examples, 1 failed" in text
    assert peer.requests[0].path == "/v1/endpoints/daily@2?carrier=AA"

    assert run("endpoints", "test", "--update", "--project", str(project)) == 0
    capsys.readouterr()
    assert run("endpoints", "test", "daily", "--project", str(project), "--json") == 0
    assert json.loads(capsys.readouterr().out)["failed"] == 0

    (project / "expected/bb.json").write_text('[{"carrier": "BB", "n": 4, "mean": 0.3}]')
    assert run("endpoints", "test", "--project", str(project)) == 1
    assert "row 0, n: 4 is expected, and 3 came" in " ".join(capsys.readouterr().out.split())


def test_endpoints_are_listed_and_described(peer: Peer, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("endpoints", "list", "--json") == 0
    assert [one["version"] for one in json.loads(capsys.readouterr().out)["endpoints"]] == [1, 2]
    assert run("endpoints", "describe", "daily") == 0
    text = capsys.readouterr().out
    assert "daily@2, revision 4: Flights" in text
    assert "flights.id" in text
    assert "integer[]" in text
    assert run("endpoints", "describe", "daily@3") != 0
    assert "there is no endpoint 'daily@3'" in capsys.readouterr().err
    assert peer.requests
