"""``headwater models report`` against a scripted control."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.builders.reports import category, number, performance, report, shadow
from tests.fakes.peer import Answer, Peer, Request

from headwater.cli import main as entry

ROOT = "/api/v1/organizations/default/projects/default/models/delay"
ALERT = {
    "metric": "psi", "side": "input", "field": "hour", "latest": 0.6, "threshold": 0.2, "since": "2026-11-24T09:00:00Z",
    "rows": {"sql": "SELECT 7\nFROM t"},
}  # fmt: skip
DOCUMENT = report(
    number("distance"), number("hour", psi=0.6), number("never", psi=None), category("carrier"), errors=1,
    performance=performance(), shadow=shadow(), environment="development", alerts=[ALERT],
)  # fmt: skip


@pytest.fixture
def control(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """Return a stand-in for control with a report in every form."""
    model: dict[str, Any] = {"name": "delay", "aliases": {"champion": 2, "challenger": 3}, "newest": 3}
    nameless = model | {"name": "fresh", "aliases": {}, "newest": 1}
    answers: dict[str, bytes] = {
        ROOT: json.dumps(model).encode(),
        ROOT.replace("delay", "fresh"): json.dumps(nameless).encode(),
        f"{ROOT}/versions/3/report.html": b"<!DOCTYPE html>",
        f"{ROOT}/versions/3/report.png": b"\x89PNG",
    }
    for path in (f"{ROOT}/versions/2", f"{ROOT}/versions/3", f"{ROOT.replace('delay', 'fresh')}/versions/1"):
        answers[f"{path}/report"] = json.dumps(DOCUMENT).encode()

    def answer(request: Request) -> Answer:
        body = answers.get(request.path.partition("?")[0])
        if body is None:
            body, status = json.dumps({"code": "not_found", "detail": request.path}).encode(), 404
            return status, {"content-type": "application/json"}, body
        return 200, {"content-type": "application/json"}, body

    monkeypatch.setenv("HEADWATER_CONTROL__URL", peer.url)
    peer.answer = answer
    return peer


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        entry.main(["models", "report", *arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_the_query_behind_an_alert_is_shown_when_asked_for_with_its_lines(
    control: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.url
    assert run("delay", "--sql") == 0
    text = capsys.readouterr().out
    assert "    SELECT 7\n    FROM t\n" in text
    assert "--sql shows" not in text


def test_a_terminal_shows_figures_fields_by_drift_quality_and_alerts(
    control: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("delay", "--window", "1h") == 0
    assert control.requests[-1].path == f"{ROOT}/versions/2/report?environment=development&window=1h"
    text = capsys.readouterr().out
    assert "600 requests, 60 failed" in text
    assert "score by 1,204 outcomes: auc 0.712, log_loss 0.51, precision" in text
    assert "agreed with version 2 in 94.3 %" in text
    assert "alert: psi of input hour is 0.6, beyond 0.2" in text
    assert "SELECT" not in text
    assert "--sql shows the queries" in text
    assert text.index("hour ") < text.index("distance") < text.index("never")


def test_a_model_without_a_champion_shows_its_newest_version(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fresh") == 0
    assert "/fresh/versions/1/report" in control.requests[-1].path
    assert run("fresh@champion") == 1
    assert "has no alias" in capsys.readouterr().err


def test_what_nobody_asked_says_what_to_do(
    control: Peer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = DOCUMENT | {"traffic": [], "fields": [], "performance": None, "shadow": None, "alerts": []}
    body = json.dumps(empty).encode()
    monkeypatch.setattr(control, "answer", lambda _request: (200, {"content-type": "application/json"}, body))
    assert run("delay:2") == 0
    text = capsys.readouterr().out
    assert "nobody asked it" in text
    assert "no reference yet" in text


@pytest.mark.parametrize(("name", "start"), [("r.html", b"<!DOCTYPE"), ("r.PNG", b"\x89PNG")])
def test_a_report_is_written_to_a_file(
    control: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, start: bytes
) -> None:
    assert run("delay:3", "-o", str(tmp_path / name), "--json") == 0
    assert (tmp_path / name).read_bytes().startswith(start)
    assert json.loads(capsys.readouterr().out) == {
        "file": str(tmp_path / name),
        "bytes": len((tmp_path / name).read_bytes()),
    }
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_report_is_written_as_json_too(control: Peer, tmp_path: Path) -> None:
    assert run("delay:3", "-o", str(tmp_path / "r.json")) == 0
    assert json.loads((tmp_path / "r.json").read_text()) == DOCUMENT


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["delay", "-o", "report.pdf"], 2, "no .html, .png or .json file"),
        (["delay:3", "-o", "/nonexistent/r.html"], 2, "/nonexistent/r.html cannot be written"),
        (["delay", "--window", "5y"], 2, "one of: 1h, 24h, 7d"),
        (["Delay!"], 2, "names no model"),
        (["delay:9"], 1, "/versions/9/report"),
    ],
)
def test_what_cannot_be_done_is_said(
    control: Peer, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert run(*arguments) == code
    assert said in capsys.readouterr().err
