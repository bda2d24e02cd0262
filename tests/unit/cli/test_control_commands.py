"""The commands that talk to control's API, against a scripted server."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.peer import Answer, Peer, Request

from headwater.cli import main as entry
from headwater.cli.commands import apply as apply_command
from headwater.cli.served import wait_until_served

MANIFEST = "name: delay\nartifact: model.onnx\n"
CHANGES = [
    {"kind": "dataset", "name": "flights", "action": "unchanged", "details": ["not in the project directory"]},
    {"kind": "model", "name": "delay", "action": "create", "details": ["version 1, takes all traffic"]},
]


@pytest.fixture
def control(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """Return a stand-in for control that accepts everything."""

    def answer(request: Request) -> Answer:
        documents = {
            "/api/v1/apply": {"changes": CHANGES, "snapshot": 5, "dry_run": b'"dry_run":true' in request.body},
        }
        headers = {"content-type": "application/json", "hw-config-version": "5"}
        return 200, headers, json.dumps(documents.get(request.path, {})).encode()

    monkeypatch.setenv("HEADWATER_CONTROL__URL", peer.url)
    peer.answer = answer
    return peer


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        entry.main(list(arguments))
    code = caught.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project directory with a model."""
    model = tmp_path / "models" / "delay"
    model.mkdir(parents=True)
    (model / "model.yaml").write_text(MANIFEST)
    (model / "model.onnx").write_bytes(b"onnx")
    return tmp_path


def test_artifacts_are_put_before_the_project_is_applied(
    control: Peer, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("apply", str(project)) == 0

    digest = hashlib.sha256(b"onnx").hexdigest()
    put, post, asked = control.requests
    assert asked.path == "/v1/endpoints"
    assert (put.method, put.path, put.body) == ("PUT", f"/api/v1/artifacts/{digest}", b"onnx")
    body = json.loads(post.body)
    assert body["resources"]["models"][0]["artifact_sha256"] == digest
    assert (body["organization"], body["environment"], body["dry_run"]) == ("default", "development", False)
    assert "1 created, 0 updated, 1 unchanged; configuration 5" in capsys.readouterr().out


def test_an_apply_returns_once_services_serve_it(
    control: Peer, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accept, served = control.answer, iter(["4", "4", "5"])

    def answer(request: Request) -> Answer:
        status, headers, body = accept(request)
        return status, {**headers, "hw-config-version": next(served)} if request.method == "GET" else headers, body

    control.answer = answer
    assert run("apply", str(project), "--json") == 0
    assert [request.method for request in control.requests] == ["PUT", "POST", "GET", "GET", "GET"]
    assert json.loads(capsys.readouterr().out)["warning"] is None


@pytest.mark.parametrize(
    "case",
    [
        (200, {"hw-config-version": "4"}, "services have configuration 4 still, after 0.2 s"),
        (503, {}, "services have configuration none still"),
        (401, {}, "do not tell this key what they serve"),
    ],
)
def test_an_apply_says_when_services_do_not_follow(
    control: Peer,
    project: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[int, dict[str, str], str],
) -> None:
    status, headers, words = case
    accept = control.answer
    control.answer = lambda request: (status, headers, b"{}") if request.method == "GET" else accept(request)
    monkeypatch.setattr(apply_command, "wait_until_served", partial(wait_until_served, seconds=0.2))
    assert run("apply", str(project)) == 0
    assert words in capsys.readouterr().out


def test_an_apply_waits_for_no_services_that_are_not_there(
    control: Peer, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWATER_URL", "http://127.0.0.1:9")
    assert run("apply", str(project)) == 0
    assert "do not answer" in capsys.readouterr().out
    assert len(control.requests) == 2


def test_a_plan_is_a_dry_run(control: Peer, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", str(project), "--json") == 0

    assert json.loads(control.requests[-1].body)["dry_run"] is True
    assert json.loads(capsys.readouterr().out)["dry_run"] is True


def test_the_errors_of_every_file_are_shown(control: Peer, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {
        "code": "project_invalid",
        "detail": "1 error in the project",
        "errors": [{"source": "models/delay/model.yaml", "path": "inputs", "message": "missing"}],
    }
    control.answer = lambda _: (422, {"content-type": "application/problem+json"}, json.dumps(problem).encode())

    assert run("apply", str(project)) == 1

    assert "models/delay/model.yaml:inputs: missing" in capsys.readouterr().err


def test_without_control_the_cure_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list", "--home", str(tmp_path)) == 1

    assert "headwater up" in capsys.readouterr().err
