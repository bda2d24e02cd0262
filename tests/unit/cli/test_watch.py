"""``headwater watch`` against a scripted server."""

from __future__ import annotations

import json
import sys

import pytest
from tests.fakes.peer import Peer

from headwater.cli import main as entry

META = {"columns": [{"name": "carrier", "type": "VARCHAR"}], "key": [], "table_versions": {"flights": 7}}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        entry.main(list(arguments))
    code = caught.value.code
    assert isinstance(code, int)
    return code


def tell(peer: Peer, *events: tuple[str, object]) -> None:
    text = "".join(f"event: {kind}\nid: g:1\ndata: {json.dumps(data)}\n\n" for kind, data in events)
    peer.answer = lambda _: (200, {"content-type": "text/event-stream"}, text.encode())


def test_a_pipe_gets_one_document_a_change(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ({"meta": META, "data": [{"carrier": name}]} for name in ("UA", "AA"))
    tell(peer, ("snapshot", first), ("snapshot", second), ("snapshot", first))
    assert run("watch", "delays", "origin=JFK", "--updates", "2") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["data"] for line in lines] == [[{"carrier": "UA"}], [{"carrier": "AA"}]]
    assert lines[0]["meta"]["table_versions"] == {"flights": 7}
    assert peer.requests[0].path == "/v1/endpoints/delays/live?origin=JFK"


def test_a_terminal_shows_a_table_with_its_versions_and_problems(
    peer: Peer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    tell(
        peer,
        ("snapshot", {"meta": META, "data": [{"carrier": "UA"}]}),
        ("problem", {"code": "query_timeout", "detail": "it took too long"}),
    )
    assert run("watch", "delays", "--updates", "2") == 0
    shown = capsys.readouterr().out
    assert shown.count("UA") == 2
    assert "1 rows of flights 7" in shown
    assert "it took too long (query_timeout)" in shown


def test_what_cannot_be_watched_is_said(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    problem = json.dumps({"code": "endpoint_not_found", "detail": "there is no endpoint 'x'"}).encode()
    peer.answer = lambda _: (404, {"content-type": "application/problem+json"}, problem)
    assert run("watch", "x") == 1
    assert "there is no endpoint 'x'" in capsys.readouterr().err
    assert run("watch", "x", "origin") == 2
    assert "name=value" in capsys.readouterr().err
