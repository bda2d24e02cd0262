"""``headwater review`` against a scripted control, and which project commands act on when nobody says."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.peer import Peer
from tests.unit.cli.test_data_commands import run

from headwater.cli.session import open_session
from headwater.cli.supervisor.processes import identity
from headwater.cli.supervisor.state import UpState
from headwater.core.home import Home

PLACE = "/api/v1/organizations/default/projects/default/environments/development/review"
STANDING = {
    "waiting": 3,
    "claimed": 1,
    "escalated": 0,
    "overdue": 0,
    "oldest_at": "2026-01-02T03:04:05Z",
    "problem": "",
}
QUEUE: dict[str, Any] = {"key": "broken", "source": "quarantine", "subject": "weather", "standing": STANDING}
TASK: dict[str, Any] = {"id": "rt_1", "state": "open", "title": "wind", "lease_owner": "", "due_at": None}
ANSWERS = {"/queues": {"items": [QUEUE], "next": None}, "/tasks": {"items": [TASK], "next": None}}


@pytest.fixture
def control(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """Return a stand-in for control with one queue."""
    monkeypatch.setenv("HEADWATER_CONTROL__URL", peer.url)

    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        found = ANSWERS[request.path.partition("?")[0].removeprefix(PLACE)]
        return 200, {"content-type": "application/json"}, json.dumps(found).encode()

    peer.answer = answer
    return peer


def test_queues_are_listed_with_how_they_stand(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("review", "list") == 0
    assert "2026-01-02 03:04" in capsys.readouterr().out
    assert run("review", "list", "--json") == 0
    assert [queue["key"] for queue in json.loads(capsys.readouterr().out)["queues"]] == ["broken"]


def test_the_tasks_of_a_queue_are_listed(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("review", "list", "broken") == 0
    assert "rt_1" in capsys.readouterr().out


def scripted(peer: Peer, *answers: Any) -> None:
    """Let the next requests be answered so, one after the other."""
    waiting = list(answers)

    def answer(_: Any) -> tuple[int, dict[str, str], bytes]:
        return 200, {"content-type": "application/json"}, json.dumps(waiting.pop(0)).encode()

    peer.answer = answer


def asked(peer: Peer) -> tuple[str, str, Any]:
    """Return the last request's method, path below the review routes, and document."""
    request = peer.requests[-1]
    return request.method, request.path.removeprefix(PLACE), json.loads(request.body or b"null")


def test_the_next_task_of_a_queue_is_claimed_or_said_to_be_missing(
    control: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted(control, TASK, None, TASK)
    assert run("review", "claim", "broken", "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == "rt_1"
    assert asked(control) == ("POST", "/claim", {"queue": "broken"})
    assert run("review", "claim", "broken") == 1
    assert "nothing waits for you in broken" in capsys.readouterr().out
    assert run("review", "claim", "rt_1", "--json") == 0
    assert asked(control)[:2] == ("POST", "/tasks/rt_1/claim")


def test_a_decision_takes_answers_changes_and_a_comment(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    scripted(control, TASK | {"state": "decided"})
    told = ["--answer", "late=true", "--answer", "why=rain", "--change", "delay=12.5", "--comment", "read the log"]
    assert run("review", "decide", "rt_1", "correct", *told) == 0
    assert asked(control) == (
        "POST",
        "/tasks/rt_1/decide",
        {
            "verdict": "correct",
            "answers": {"late": True, "why": "rain"},
            "changes": {"delay": 12.5},
            "comment": "read the log",
            "supersede": False,
        },
    )
    assert "rt_1 is decided: correct" in capsys.readouterr().out


def test_an_answer_without_a_value_is_refused_before_anything_is_sent(
    control: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("review", "decide", "rt_1", "label", "--answer", "late") != 0
    assert "--answer" in capsys.readouterr().err
    assert control.requests == []


def test_a_task_is_given_back(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    scripted(control, TASK)
    assert run("review", "release", "rt_1") == 0
    assert asked(control) == ("POST", "/tasks/rt_1/release", {})
    assert "rt_1 is open" in capsys.readouterr().out


@pytest.mark.parametrize("is_running", [True, False])
def test_commands_act_on_what_runs_here_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_running: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    home = Home(tmp_path / "home")
    home.prepare()
    target = {"organization": "headwater", "project": "flights", "environment": "development"}
    me = identity(os.getpid()) if is_running else "another"
    UpState(os.getpid(), me, "http://c", "http://s", target=target).write(home)
    found = open_session(home.root, None, json=False).settings.target
    assert found.project == ("flights" if is_running else "default")
    (tmp_path / "headwater.toml").write_text('[target]\nproject = "mine"\n')
    assert open_session(home.root, None, json=False).settings.target.project == "mine"
