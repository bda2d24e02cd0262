"""What the command line says about the machine: Valkey, ports, the doctor's findings, the words at ready."""

from __future__ import annotations

import io
import json
import os
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headwater.cli import doctor
from headwater.cli.doctor import examine
from headwater.cli.supervisor.banner import Banner
from headwater.cli.supervisor.logs import LogStream
from headwater.cli.supervisor.processes import identity
from headwater.cli.supervisor.run import _Up, run
from headwater.cli.supervisor.setup import SetUp, read_setup, write_setup
from headwater.cli.supervisor.specs import process_specs
from headwater.cli.supervisor.state import ProcessState, UpState
from headwater.cli.valkey import find_program, valkey_spec
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.ids import format_id, new_uuid
from headwater.core.setting_sections import CacheSettings, ControlSettings, ServicesSettings, UpSettings
from headwater.core.settings import Settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def settings_for(home: Home) -> Settings:
    return Settings(
        home=home.root, control=ControlSettings(port=free_port()), services=ServicesSettings(port=free_port())
    )


def findings(settings: Settings) -> dict[str, list[doctor.Finding]]:
    found: dict[str, list[doctor.Finding]] = {}
    for finding in examine(settings):
        found.setdefault(finding.subject, []).append(finding)
    return found


def test_valkey_keeps_what_is_queued_and_listens_on_its_owners_socket_alone(home: Home) -> None:
    spec = valkey_spec(Settings(home=home.root), home)

    assert spec is not None
    assert Path(spec.command[0]).is_file()
    assert find_program() == spec.command[0]
    options = dict(zip(spec.command[1::2], spec.command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--unixsocketperm"] == "700"
    assert options["--appendonly"] == "yes"


def test_a_cache_by_url_replaces_the_embedded_one(home: Home) -> None:
    assert valkey_spec(Settings(home=home.root, cache=CacheSettings(url="redis://there/0")), home) is None


def test_a_home_too_deep_for_a_socket_is_told(tmp_path: Path) -> None:
    home = Home(tmp_path / ("deep" * 40))

    with pytest.raises(HeadwaterError, match="longer than") as caught:
        valkey_spec(Settings(home=home.root), home)
    assert "--home" in str(caught.value.hint)


def test_one_port_for_two_servers_is_refused_and_the_home_is_free_again(home: Home) -> None:
    port = free_port()
    settings = Settings(home=home.root, control=ControlSettings(port=port), services=ServicesSettings(port=port))

    for _ in range(2):
        with pytest.raises(HeadwaterError, match="cannot both listen") as caught:
            run(settings, io.StringIO())
        assert caught.value.code == "port_taken"


def test_children_get_the_settings_of_their_supervisor(home: Home) -> None:
    settings = settings_for(home)

    specs = process_specs(settings, home)

    assert set(specs) == {"control", "services", "sealer", "worker"}
    assert specs["control"].environment["HEADWATER_CONTROL__PORT"] == str(settings.control.port)
    assert specs["sealer"].command[-2:] == ("serve", "sealer")


def test_a_new_home_is_no_fault(tmp_path: Path) -> None:
    found = findings(Settings(home=tmp_path / "none"))

    assert [finding.status for finding in found["home"]] == ["warn"]
    assert "headwater up" in found["home"][0].cure
    assert not (tmp_path / "none").exists()


def test_a_secret_that_others_can_read_fails_with_the_cure(home: Home) -> None:
    home.write_secret(home.node_token, b"token")
    assert all(finding.status == "ok" for finding in findings(settings_for(home))["secrets"])

    home.node_token.chmod(0o644)

    bad = findings(settings_for(home))["secrets"][0]
    assert bad.status == "fail"
    assert bad.cure == f"chmod 600 {home.node_token}"


def test_a_home_of_another_format_fails(home: Home) -> None:
    home.format_file.write_text("9\n")

    assert findings(settings_for(home))["home"][0].status == "fail"


def test_a_control_database_that_was_lost_or_replaced_is_found(home: Home) -> None:
    made = new_uuid()
    (home.snapshots / format_id("env", made)).mkdir()
    (gone,) = findings(settings_for(home))["database"]
    with closing(sqlite3.connect(home.control_database)) as connection:
        connection.execute("CREATE TABLE orgs_environment (id char(32))")
        connection.commit()
        (replaced,) = findings(settings_for(home))["database"]
        connection.execute("INSERT INTO orgs_environment VALUES (?)", (made.hex,))
        connection.commit()
        (well,) = findings(settings_for(home))["database"]
    home.control_database.write_bytes(b"no database at all")
    (broken,) = findings(settings_for(home))["database"]

    assert (gone.status, replaced.status, well.status, broken.status) == ("fail", "fail", "ok", "fail")
    assert "is gone" in gone.detail
    assert format_id("env", made) in replaced.detail
    assert "backup" in replaced.cure


def test_a_process_that_is_gone_and_a_sealer_that_lags_are_found(home: Home) -> None:
    settings = settings_for(home)
    state = UpState(os.getpid(), identity(os.getpid()), settings.control_url, settings.services_url, ready=True)
    state.processes = {
        "control": ProcessState(os.getpid(), identity(os.getpid()), ready=True),
        "services": ProcessState(os.getpid(), "somebody else's", ready=True),
        "worker": ProcessState(os.getpid(), identity(os.getpid()), restarts=3, ready=True),
    }
    state.write(home)
    trouble = [{"stream": "feature view recent", "error": "features_unavailable: away"}]
    beat = {
        "at": datetime.now(UTC).isoformat(),
        "lag_seconds": 90,
        "rows": 12_000,
        "errors": [],
        "online_errors": trouble,
    }
    (home.run / "sealer.json").write_text(json.dumps(beat))

    found = findings(settings)

    assert [finding.status for finding in found["processes"]] == ["ok", "fail", "warn"]
    assert found["sealer"][0].status == "warn"
    assert "12,000 rows" in found["sealer"][0].detail
    assert (found["features"][0].status, found["features"][0].detail) == (
        "warn",
        "feature view recent: features_unavailable: away",
    )
    assert found["control"][0].status == found["services"][0].status == "fail"

    silent = {**beat, "at": (datetime.now(UTC) - timedelta(minutes=5)).isoformat()}
    (home.run / "sealer.json").write_text(json.dumps(silent))
    assert findings(settings)["sealer"][0].status == "fail"


def test_a_nearly_full_disk_fails(home: Home) -> None:
    settings = settings_for(home)
    full = settings.model_copy(update={"journal": settings.journal.model_copy(update={"min_free_bytes": 1 << 60})})

    assert findings(full)["disk"][0].status == "fail"


def test_a_package_that_is_not_installed_is_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("duckdb", "no-such-package"))

    (finding,) = findings(settings_for(home))["versions"]
    assert "no-such-package not installed" in finding.detail


def test_what_is_secret_stays_off_the_logged_lines() -> None:
    banner = Banner(
        seconds=3.21,
        memory={"control": 100 << 20, "services": 60 << 20},
        control_url="http://c",
        services_url="http://s",
        email="admin@x",
        password="open sesame",
        api_key="hw_abc",
        try_path="/v1/datasets",
    )

    public = "\n".join(banner.public_lines())
    assert public.startswith("ready after 3.2 s, 160 MB resident: control 100 MB, services 60 MB")
    assert "hw_abc" not in public
    assert "sesame" not in public
    assert "open sesame" in banner.private_text()
    assert "curl -H \"Authorization: Bearer hw_abc\" 'http://s/v1/datasets'" in banner.private_text()


def test_a_later_start_names_the_file_of_the_key_instead_of_the_key(tmp_path: Path) -> None:
    banner = Banner(
        seconds=1,
        memory={},
        control_url="http://c",
        services_url="http://s",
        email="admin@x",
        api_key="hw_abc",
        key_file=tmp_path / "demo.key",
        try_path="/v1/datasets",
    )

    text = banner.private_text()
    assert "hw_abc" not in text
    assert f"Bearer $(cat {tmp_path / 'demo.key'})" in text


def test_the_set_up_answers_what_was_written() -> None:
    setup = SetUp(email="a@b", password="p", problem="why", strangers=["env_1"])

    assert read_setup(write_setup(setup).encode()) == setup


def test_a_log_goes_on_when_its_reader_has_gone(tmp_path: Path) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    stream = LogStream(Gone(), tmp_path / "up.log")
    stream.line("control", "hello")
    stream.show("password", {})
    stream.close()

    assert (tmp_path / "up.log").read_text() == "control   │ hello\n"


def test_a_log_for_machines_is_one_object_a_line_whoever_wrote_it(tmp_path: Path) -> None:
    output = io.StringIO()
    stream = LogStream(output, tmp_path / "up.log", as_json=True)
    stream.line("services", '{"event": "listening", "process": "services", "n": 1}')
    stream.line("valkey", "12769:M # WARNING \x1b[1m日本")
    stream.line("worker", "")
    stream.line("worker", "[1, 2]")
    stream.say("stopping")
    stream.show("  password  open sesame", {"password": "open sesame"})
    stream.close()

    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert lines[0] == {"event": "listening", "process": "services", "n": 1}
    assert [line["process"] for line in lines] == ["services", "valkey", "worker", "worker", "headwater", "headwater"]
    assert lines[1]["event"] == "12769:M # WARNING \x1b[1m日本"
    assert lines[3]["event"] == "[1, 2]"
    assert lines[-1]["password"] == "open sesame"
    kept = (tmp_path / "up.log").read_text()
    assert [json.loads(line) for line in kept.splitlines()] == lines[:-1]
    assert "sesame" not in kept


@pytest.mark.parametrize("as_json", [False, True])
def test_what_concerns_nobody_is_in_the_file_alone(tmp_path: Path, as_json: bool) -> None:
    output = io.StringIO()
    stream = LogStream(output, tmp_path / "up.log", as_json=as_json)
    stream.line("valkey", "WARNING Memory overcommit", is_shown=False)
    stream.line("valkey", "ready")
    stream.close()
    assert "overcommit" not in output.getvalue()
    assert "ready" in output.getvalue()
    assert "overcommit" in (tmp_path / "up.log").read_text()


def test_a_terminal_without_our_letters_sees_every_line() -> None:
    raw = io.BytesIO()
    stream = LogStream(io.TextIOWrapper(raw, encoding="ascii"))
    stream.line("control", "Zürich")

    assert raw.getvalue() == b"control   \\u2502 Z\\xfcrich\n"


@pytest.mark.parametrize(("variables", "colour"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_without_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], colour: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    LogStream(terminal).line("control", "hello")

    assert ("\x1b[" in terminal.getvalue()) is colour


async def test_a_command_of_the_project_that_cannot_be_run_stops_nothing(tmp_path: Path) -> None:
    output = io.StringIO()
    home = Home(tmp_path / "home")
    home.prepare()
    commands = ("echo 'unbalanced", "true", "no-such-command-anywhere")
    settings = Settings(home=home.root, project=tmp_path, up=UpSettings(after_start=commands))
    await _Up(settings, home, LogStream(output))._after_start()
    gone = settings.model_copy(update={"project": tmp_path / "gone"})
    await _Up(gone, home, LogStream(output))._after_start()

    told = output.getvalue()
    assert "`echo 'unbalanced` cannot be run: No closing quotation; everything else goes on" in told
    assert "`true` failed" not in told
    assert "`no-such-command-anywhere` failed with exit code 127" in told
    assert "`true` cannot be run: [Errno 2]" in told


async def test_the_login_is_shown_again_once_the_commands_of_the_project_have_run(tmp_path: Path) -> None:
    output = io.StringIO()
    home = Home(tmp_path / "home")
    home.prepare()
    settings = Settings(home=home.root, project=tmp_path, up=UpSettings(after_start=("echo loaded",)))
    banner = Banner(1.0, {}, "http://c", "http://s", "admin@x.localhost", "open sesame", "hw_abc", None, "/v1/datasets")

    await _Up(settings, home, LogStream(output))._finish(banner)

    told = output.getvalue()
    assert told.index("loaded") < told.index("Ctrl-C stops everything") < told.index("open sesame")
