"""``headwater models skew`` against scripted services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fakes.peer import Answer, Peer, Request

from headwater.cli import main as entry

FEATURE = {
    "view": "weather", "feature": "temp", "field": "b", "compared": 900, "differing": 3, "max_abs_diff": 12.3456789,
    "examples": [
        {"prediction_id": "prd_1", "served": 1.5, "history": 13.8, "as_of": "2026-05-01T00:00:00Z", "event_at": None}
    ],
}  # fmt: skip
REPORT = {
    "model": "delay", "version": 2, "since": "2026-05-01T00:00:00Z", "until": "2026-05-02T00:00:00Z",
    "sampled": 1_000, "without_key": 0, "other_revision": 100, "features": [FEATURE],
}  # fmt: skip


def script(peer: Peer, state: str | None, report: Any = None, error: Any = None) -> None:
    def answer(request: Request) -> Answer:
        queued = request.method == "POST"
        body = {"model": "delay", "version": 2, "job": "job_1", "error": None if queued else error}
        body |= {"state": "queued" if queued else state, "report": None if queued else report}
        return 202 if queued else 200, {"content-type": "application/json"}, json.dumps(body).encode()

    peer.answer = answer


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        entry.main(["models", "skew", *arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_what_a_check_found_is_shown_by_feature_with_examples(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    script(peer, "succeeded", REPORT)
    assert run("delay:2", "--hours", "6", "--sample", "1000") == 0
    assert peer.requests[0].path == "/v1/models/delay/versions/2/skew"
    assert json.loads(peer.requests[0].body) == {"hours": 6, "sample": 1_000}
    text = capsys.readouterr().out
    assert "delay version 2: 1,000 predictions" in text
    for words in ("weather.temp", "900", "12.3457", "prd_1", "100 not compared: the view has changed since"):
        assert words in text
    assert run("delay", "--json") == 0
    assert json.loads(capsys.readouterr().out)["report"] == REPORT


def test_the_newest_check_is_shown_without_another(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    script(peer, None)
    assert run("delay", "--last") == 0
    assert [request.method for request in peer.requests] == ["GET"]
    assert "no check has been made yet" in capsys.readouterr().out


def test_a_check_that_failed_says_why_and_ends_with_1(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    script(peer, "failed", REPORT, {"code": "sql_failed", "detail": "no space is left", "hint": None})
    assert run("delay") == 1
    text = capsys.readouterr().out
    assert "the newest check failed: no space is left" in text
    assert "weather.temp" in text, "what an earlier one found stays"
