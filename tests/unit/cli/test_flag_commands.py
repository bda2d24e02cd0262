"""``headwater flags`` against a scripted control and scripted services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.fakes.peer import Peer
from tests.unit.cli.test_data_commands import run

PLACE = "/api/v1/organizations/default/projects/default"
FLAG: dict[str, Any] = {
    "key": "late-after", "type": "integer", "kind": "release", "owner": "data", "remove_by": "2027-01-01", "off": "b",
    "description": "Which delay counts as late", "variants": {"a": 15, "b": 30}, "archived_at": None,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "flag": "late-after", "environment": "development", "enabled": True, "default": "b", "rules": [{}],
    "in_words": ["10% of everybody gets a"],
}  # fmt: skip
STEPS = [{"what": "rule 1", "result": "decided", "why": "it is for everybody: a"}]
ANSWERS: dict[str, Any] = {
    "/flags": {"items": [FLAG], "next": None},
    "/flags/late-after": FLAG,
    "/environments/development/flags": {"items": [CONFIG], "next": None},
    "/environments/development/flags/late-after": CONFIG,
    "/environments/development/flags/late-after/toggle": CONFIG,
    "/environments/development/flags/late-after/evaluate": {
        "key": "late-after", "value": 15, "variant": "a", "reason": "TARGETING_MATCH", "steps": STEPS,
    },
    "/environments/development/stale-flags": {"next": None, "items": [
        {"key": "late-after", "owner": "data", "reasons": ["it was to be removed by 2020-01-01"]}
    ]},
}  # fmt: skip


@pytest.fixture
def control(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """Return a stand-in for control with one flag; it answers as services, too."""
    monkeypatch.setenv("HEADWATER_CONTROL__URL", peer.url)

    def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
        path = request.path.partition("?")[0]
        if path.startswith("/ofrep/"):
            found: Any = {"key": "late-after", "value": 30, "variant": "b", "reason": "DEFAULT"}
        else:
            found = ANSWERS[path.removeprefix(PLACE)]
        return 200, {"content-type": "application/json"}, json.dumps(found).encode()

    peer.answer = answer
    return peer


def test_flags_are_listed_with_what_the_environment_says(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("flags", "list") == 0
    text = capsys.readouterr().out
    assert "late-after" in text
    assert "2027-01-01" in text
    assert run("flags", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["flags"][0]["config"]["enabled"] is True


def test_a_flag_is_shown_with_its_rules_in_words(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("flags", "show", "late-after") == 0
    text = capsys.readouterr().out
    assert "late-after: on in development" in text
    assert "1. 10% of everybody gets a" in text
    assert "otherwise b; b while it is off" in text


def test_a_flag_is_switched_with_a_reason(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("flags", "toggle", "late-after", "on", "--reason", "tested") == 0
    assert json.loads(control.requests[-1].body) == {"enabled": True, "reason": "tested"}
    assert "late-after is on in development" in capsys.readouterr().out
    assert run("flags", "toggle", "late-after", "maybe") == 2
    assert "write on or off" in capsys.readouterr().err


def test_asking_goes_to_services_as_an_application_does(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("targetingKey=7", "plan=pro", "seats=180", "beta=true", 'user={"age": 3}')
    assert run("flags", "evaluate", "late-after", *arguments) == 0
    assert control.requests[-1].path == "/ofrep/v1/evaluate/flags/late-after"
    assert json.loads(control.requests[-1].body) == {
        "context": {"targetingKey": "7", "plan": "pro", "seats": 180, "beta": True, "user": {"age": 3}}
    }
    assert "late-after = 30 (b, DEFAULT)" in capsys.readouterr().out
    assert run("flags", "evaluate", "late-after", "nonsense") == 2


def test_explaining_goes_to_control_and_says_which_rule_decides(
    control: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("flags", "evaluate", "late-after", "targetingKey=u", "--explain") == 0
    assert "rule 1: decided, it is for everybody: a" in capsys.readouterr().out


def test_stale_flags_are_listed_with_the_reason(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("flags", "stale", "--days", "60") == 0
    assert control.requests[-1].path.endswith("/stale-flags?days=60&limit=200")
    assert "removed by 2020-01-01" in capsys.readouterr().out
