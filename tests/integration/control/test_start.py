"""The first start, the second, two at once, and the control process itself; each in processes of their own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headwater.core.home import Home

SCRIPT = """
import dataclasses, json, sys, time
from pathlib import Path
from headwater.core.errors import HeadwaterError
from headwater.core.settings import load_settings
from headwater.control import bootstrap, server
started = time.monotonic()
flags, calls = json.loads(sys.argv[1])
settings = load_settings(flags | {"home": Path(flags["home"])}, environ={}, file=Path("/nonexistent"))
for name, arguments in calls:
    try:
        if name == "serve":
            server.serve(settings)
            answer = "stopped"
        else:
            answer = dataclasses.asdict(getattr(bootstrap, name)(settings, *arguments))
    except HeadwaterError as error:
        answer = {"code": error.code, "detail": error.detail, "hint": error.hint}
    print(json.dumps([answer, time.monotonic() - started], default=str), flush=True)
"""


def start(home: Path, *calls: tuple[str, list[Any]], **flags: Any) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DJANGO_"))}
    arguments = json.dumps([{"home": str(home)} | flags, calls])
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=home.parent,
    )


def finish(process: subprocess.Popen[str]) -> list[tuple[Any, float]]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return [tuple(json.loads(line)) for line in out.splitlines()]


def run(home: Path, *calls: tuple[str, list[Any]], **flags: Any) -> list[Any]:
    return [answer for answer, _ in finish(start(home, *calls, **flags))]


@contextmanager
def serving(home: Path, **flags: Any) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = start(home, ("serve", []), **({"control.port": port} | flags))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            for _ in range(200):
                try:
                    client.get("/livez").raise_for_status()
                    break
                except httpx.ConnectError:
                    assert process.poll() is None, process.communicate()
                    time.sleep(0.05)
            yield process, client
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_first_start_makes_everything_and_the_second_finds_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    ((first, _),) = finish(start(home.root, ("bootstrap", [])))
    assert first["created"]
    assert (first["organization"], first["project"], first["environment"]) == ("default", "default", "development")
    assert len(first["admin_password"]) >= 16
    assert home.demo_key.read_text() == first["demo_key"]
    for path in (
        home.demo_key,
        home.node_token,
        home.django_secret,
        home.snapshot_private_key,
        home.snapshot_public_key,
        home.control_database,
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    secrets = {path: path.read_bytes() for path in home.run.glob("*.*") if path.is_file()}
    migrated = "SELECT app, name, applied FROM django_migrations ORDER BY id"
    with sqlite3.connect(home.control_database) as database:
        before = database.execute(migrated).fetchall()
    database.close()

    ((second, _),) = finish(start(home.root, ("bootstrap", [])))
    assert second == first | {"created": False, "admin_password": None, "demo_key": None}
    assert {path: path.read_bytes() for path in secrets} == secrets
    with sqlite3.connect(home.control_database) as database:
        assert database.execute(migrated).fetchall() == before
        tables = {"orgs_organization": 1, "identity_user": 1, "access_apikey": 1, "orgs_environment": 1}
        for table, rows in tables.items():
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (rows,)
    database.close()


def test_two_first_starts_at_once_make_one_installation(tmp_path: Path) -> None:
    both = [start(tmp_path / "home", ("bootstrap", [])) for _ in range(2)]
    answers = [finish(process)[0][0] for process in both]
    assert sorted(answer["created"] for answer in answers) == [False, True]
    assert answers[0]["environment_id"] == answers[1]["environment_id"]
    assert sorted(answer["demo_key"] is None for answer in answers) == [False, True]


def test_another_target_gets_an_environment_and_a_key_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (first,) = run(home, ("bootstrap", []))
    (second,) = run(home, ("bootstrap", []), **{"target.organization": "my_org", "target.environment": "prod"})
    assert second["created"]
    assert second["admin_email"] == first["admin_email"]
    assert second["environment_id"] != first["environment_id"]
    assert Home(home).demo_key.read_text() == second["demo_key"] != first["demo_key"]


def test_keys_and_administrators_are_made_whether_or_not_the_system_is_up(tmp_path: Path) -> None:
    home = tmp_path / "home"
    key, again, other = run(
        home,
        ("create_key", ["loader", "producer"]),
        ("create_key", ["loader", "producer"]),
        ("create_key", ["loader", "owner"]),
    )
    assert key["key"].startswith("hw_")
    assert key["key"] != again["key"]
    assert key["principal"] == again["principal"] == "loader"
    assert (other["code"], "producer" in other["detail"]) == ("conflict", True)
    bad_role, weak, admin, existing = run(
        home,
        ("create_key", ["x", "emperor"]),
        ("create_admin", ["ada@example.com", "short"]),
        ("create_admin", ["Ada@Example.com"]),
        ("create_admin", ["ada@example.com", "a long enough password"]),
    )
    assert bad_role["code"] == "not_found"
    assert weak["code"] == "invalid_parameter"
    assert (admin["email"], admin["created"], len(admin["password"]) >= 16) == ("ada@example.com", True, True)
    assert (existing["password"], existing["created"]) == (None, False)


def test_people_are_invited_from_the_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sent, again, other, wrong, member, listed = run(
        home,
        ("invite_user", ["Bob@example.com", "developer"]),
        ("invite_user", ["bob@example.com", "developer"]),
        ("invite_user", ["bob@example.com", "owner"]),
        ("invite_user", ["nobody", "analyst"]),
        ("invite_user", ["ann@example.com", "emperor"]),
        ("list_invitations", []),
    )
    assert (sent["invitation"]["email"], sent["invitation"]["state"]) == ("bob@example.com", "pending")
    assert "/invitations/" in sent["link"]
    assert again["invitation"]["id"] == sent["invitation"]["id"]
    assert again["link"] != sent["link"], "the link sent before opens nothing any more"
    assert (other["code"], wrong["code"], member["code"]) == ("conflict", "invalid_parameter", "not_found")
    assert [item["email"] for item in listed["items"]] == ["bob@example.com"]


def test_a_key_made_first_leaves_owner_password_and_local_key_to_the_first_start(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (early,) = run(home.root, ("create_key", ["loader", "producer"]))
    assert early["key"]
    assert not home.demo_key.exists()
    (first,) = run(home.root, ("bootstrap", []))
    assert len(first["admin_password"]) >= 16, "whoever starts it must learn the password"
    assert home.demo_key.read_text() == first["demo_key"]
    assert first["environment_id"] == early["environment_id"]


def test_a_key_for_another_target_leaves_this_machines_key_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (first,) = run(home.root, ("bootstrap", []))
    (other,) = run(home.root, ("create_key", ["ci", "producer"]), **{"target.environment": "staging"})
    assert other["environment_id"] != first["environment_id"]
    assert home.demo_key.read_text() == first["demo_key"]


def test_commands_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (first,) = run(home, ("bootstrap", []))
    commands = [start(home, *[("create_key", [f"loader{n}", "producer"])] * 5) for n in range(3)]
    made = [answer["prefix"] for command in commands for answer, _ in finish(command)]
    with serving(home) as (_, client):
        reply = client.get(
            f"/internal/v1/snapshots/{first['environment_id']}",
            headers={"Authorization": f"Bearer {Home(home).node_token.read_text()}"},
        )
    held = {key["prefix"] for key in json.loads(reply.json()["payload"])["keys"].values()}
    assert len(made) == 15
    assert held >= set(made)


def test_a_database_from_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    run(home.root, ("bootstrap", []))
    database = sqlite3.connect(home.control_database)
    database.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('orgs', '9999_future', '2030-01-01')")
    database.commit()
    database.close()
    before = home.control_database.read_bytes()
    (answer,) = run(home.root, ("bootstrap", []))
    assert (answer["code"], "orgs.9999_future" in answer["detail"]) == ("home_version", True)
    assert home.control_database.read_bytes() == before


def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    (answer,) = run(tmp_path / "home", ("bootstrap", []), **{"database.url": "postgresql://u:p@127.0.0.1:1/x"})
    assert answer["code"] == "config_unavailable"
    assert "database.url" in answer["hint"]
    (answer,) = run(tmp_path / "home2", ("bootstrap", []), **{"database.url": "mysql://x"})
    assert (answer["code"], "mysql" in answer["detail"]) == ("setting_invalid", True)


def test_the_control_process_serves_and_stops_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (first,) = run(home.root, ("bootstrap", []))
    with serving(home.root) as (process, client):
        assert client.get("/readyz").json() == {"status": "ok", "problems": []}
        headers = {"Authorization": f"Bearer {home.node_token.read_text()}"}
        address = f"/internal/v1/snapshots/{first['environment_id']}"
        reply = client.get(address, headers=headers)
        with pytest.raises(httpx.ReadTimeout):
            client.get(
                address, params={"wait": 20}, headers=headers | {"If-None-Match": reply.headers["ETag"]}, timeout=0.3
            )
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as poll:
            token = headers["Authorization"]
            poll.sendall(
                f"GET {address}?wait=20 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n"
                f"If-None-Match: {reply.headers['ETag']}\r\n\r\n".encode()
            )
            time.sleep(0.3)
            stopped = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert poll.recv(100).startswith(b"HTTP/1.1 304")
        assert process.wait(5) == 0
        assert time.monotonic() - stopped < 3


def test_a_key_made_by_a_command_reaches_the_waiting_services(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (first,) = run(home.root, ("bootstrap", []))
    with serving(home.root) as (_, client):
        headers = {"Authorization": f"Bearer {home.node_token.read_text()}"}
        address = f"/internal/v1/snapshots/{first['environment_id']}"
        etag = client.get(address, headers=headers).headers["ETag"]
        command = start(home.root, ("create_key", ["loader", "producer"]))
        reply = client.get(address, params={"wait": 20}, headers=headers | {"If-None-Match": etag})
        (made, _) = finish(command)[0]
        assert reply.status_code == 200
        snapshot = json.loads(reply.json()["payload"])
        assert made["prefix"] in {key["prefix"] for key in snapshot["keys"].values()}


def test_an_artifact_is_asked_for_a_key_before_any_of_it_is_read(tmp_path: Path) -> None:
    (first,) = run(tmp_path / "home", ("bootstrap", []))
    content = b"a model, or so they say"
    digest = hashlib.sha256(content).hexdigest()
    with serving(tmp_path / "home") as (_, client):
        with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=5) as sender:
            sender.sendall(
                f"PUT /api/v1/artifacts/{digest} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer hw_no\r\n"
                "Content-Length: 500000000\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            reply = sender.recv(1_000)
            assert reply.startswith(b"HTTP/1.1 401"), reply
            assert b"unauthenticated" in reply + sender.recv(4_000)
        headers = {"Authorization": f"Bearer {first['demo_key']}"}
        put = client.put(f"/api/v1/artifacts/{digest}", content=content, headers=headers)
        assert put.json() == {"sha256": digest, "size": len(content)}


def test_people_log_in_with_their_e_mail(tmp_path: Path) -> None:
    (first,) = run(tmp_path / "home", ("bootstrap", []))
    with serving(tmp_path / "home") as (_, client):
        page = client.get("/accounts/login/")
        assert page.status_code == 200
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        form = {
            "login": first["admin_email"].upper(),
            "password": "wrong",
            "csrfmiddlewaretoken": client.cookies["hw_csrf"],
        }
        assert client.post("/accounts/login/", data=form).status_code == 200
        form["password"] = first["admin_password"]
        reply = client.post("/accounts/login/", data=form)
        assert reply.status_code == 302
        assert "HttpOnly" in reply.headers["Set-Cookie"]
        assert client.get("/admin/").status_code == 200
        closed = client.get("/accounts/signup/")
        assert "password1" not in closed.text
        assert client.get("/livez", headers={"Host": "evil.example"}).status_code == 400


def test_cookies_and_hosts_follow_the_settings(tmp_path: Path) -> None:
    flags = {"control.secure_cookies": True, "control.allowed_hosts": ["127.0.0.1", "headwater.example"]}
    with serving(tmp_path / "home", **flags) as (_, client):
        page = client.get("/accounts/login/", headers={"Host": "headwater.example", "X-Forwarded-Proto": "https"})
        assert page.status_code == 200
        assert "Secure" in page.headers["Set-Cookie"]
        assert client.get("/accounts/login/", headers={"Host": "localhost"}).status_code == 400


def test_control_answers_where_it_listens_whatever_hosts_browsers_may_use(tmp_path: Path) -> None:
    flags = {"control.allowed_hosts": ["console.example"], "control.url": "https://control.example:8443"}
    with serving(tmp_path / "home", **flags) as (_, client):
        assert client.get("/readyz").status_code == 200
        for host in ("control.example:8443", "console.example"):
            assert client.get("/readyz", headers={"Host": host}).status_code == 200
        assert client.get("/readyz", headers={"Host": "evil.example"}).status_code == 400


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (answer,) = run(tmp_path / "home", ("serve", []), **{"control.port": port})
    assert answer["code"] == "port_taken"
    assert str(port) in answer["detail"]
