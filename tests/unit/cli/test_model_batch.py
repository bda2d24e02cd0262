"""``headwater models batch`` against scripted services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fakes.peer import Answer, Peer, Request

from headwater.cli import main as entry
from headwater.cli.commands import model_batch

JOB: dict[str, Any] = {
    "job": "job_1",
    "state": "queued",
    "model": "delay",
    "version": 2,
    "dataset": "flights",
    "dataset_version": 12,
    "output": "batch_predictions_delay",
    "output_version": None,
    "progress": {"done": 0, "total": 300},
    "counts": {"scored": 0, "failed": 0, "skipped": 0},
    "error": None,
}
DONE = {"progress": {"done": 300, "total": 300}, "counts": {"scored": 290, "failed": 3, "skipped": 7}}
ERROR = {"code": "input_invalid", "detail": "row 7 (_hw_seq) of flights, input 'a': is required", "hint": "use where"}


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_batch, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(model_batch, "_SEAL_SECONDS", 0.05)


def script(peer: Peer, *stages: dict[str, Any]) -> None:
    """Answer with a job that goes through these stages."""
    left = list(stages)

    def answer(request: Request) -> Answer:
        head = {"content-type": "application/json"}
        if request.method == "POST":
            return 202, head, b'{"job": "job_1", "status_url": "/v1/jobs/job_1"}'
        stage = left.pop(0) if len(left) > 1 else left[0]
        return 200, head, json.dumps(JOB | stage).encode()

    peer.answer = answer


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        entry.main(["models", "batch", *arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def test_what_is_asked_for_is_sent_and_the_job_named(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    script(peer, {})
    options = ("--where", "a > 1", "--since", "2026-05-01T00:00:00Z", "--column", "x=a", "--on-error", "null")
    assert run("delay:2", "--dataset", "flights", *options, "--key", "may") == 0
    sent = peer.requests[0]
    assert sent.path == "/v1/models/delay/versions/2/batch"
    assert sent.headers["idempotency-key"] == "may"
    assert json.loads(sent.body) == {
        "dataset": "flights",
        "where": "a > 1",
        "since": "2026-05-01T00:00:00Z",
        "columns": {"x": "a"},
        "on_error": "null",
    }
    said = capsys.readouterr().out
    assert "job_1 queued: delay version 2 on flights (table version 12)" in said
    assert "WHERE job = 'job_1'" in said


def test_it_waits_until_the_predictions_can_be_queried(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    running = {"state": "running", "progress": {"done": 100, "total": 300}}
    done = {"state": "succeeded", **DONE}
    script(peer, {}, running, done, done | {"output_version": 4})
    assert run("delay", "--dataset", "flights", "--wait", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["output_version"] == 4
    assert "job_1 queued 0 of 300 rows" in said.err
    assert peer.requests[0].path == "/v1/models/delay/batch"


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_job_that_does_not_succeed_is_exit_code_1(peer: Peer, capsys: pytest.CaptureFixture[str], state: str) -> None:
    script(peer, {"state": state, "error": ERROR})
    assert run("delay", "--dataset", "flights", "--wait") == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "input_invalid: row 7 (_hw_seq) of flights, input 'a': is required" in said
    assert "hint: use where" in said


@pytest.mark.parametrize("pair", ["x", "=a", "x="])
def test_a_mapping_that_is_none_is_named(peer: Peer, capsys: pytest.CaptureFixture[str], pair: str) -> None:
    assert run("delay", "--dataset", "flights", "--column", pair) == 2
    assert pair in capsys.readouterr().err
    assert peer.requests == []
