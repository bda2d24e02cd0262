"""The control plane on PostgreSQL: first start, seals, two writers at once, migrations back and forth."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.builders.two_ways import make_both_ways

from headwater.core.home import Home

# Debian keeps the server's programs off the PATH, one folder a major version.
PLACES = [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
POSTGRES = shutil.which("postgres", path=os.pathsep.join(PLACES)) or ""
PG_DUMP = shutil.which("pg_dump", path=os.pathsep.join(PLACES)) or ""
INITDB = shutil.which("initdb", path=os.pathsep.join(PLACES)) or ""
pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        not (POSTGRES and INITDB), reason="no PostgreSQL server on this machine (apt-get install postgresql)"
    ),
]

SCRIPT = """
import json, sys, threading
from pathlib import Path
from headwater.core.settings import load_settings
from headwater.control import bootstrap
home, url = sys.argv[1:]
settings = load_settings({"home": Path(home), "database.url": url}, environ={}, file=Path("/nonexistent"))
first = bootstrap.bootstrap(settings)
second = bootstrap.bootstrap(settings)
from django.core.management import call_command
from django.db import close_old_connections, connection, connections
from headwater.control.access.queries import get_environment
from headwater.control.audit.models import AuditEvent
from headwater.control.audit.verify import verify_all
from headwater.control.kit.actions import SYSTEM
from headwater.control.kit import outbox
from headwater.control.orgs.actions import create_environment
from headwater.control.snapshots.models import Snapshot
from headwater.control.start import create_key
environment = get_environment("default", "default", "development")
failures = []
def work(number):
    try:
        for step in range(5):
            create_key(settings, f"w{number}-{step}", "producer", scopes=(), expires_at=None)
    except Exception as error:
        failures.append(repr(error))
    finally:
        connections.close_all()
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
newest = Snapshot.unscoped.filter(environment=environment).order_by("-number").first()
published = []
def relay():
    while outbox.relay(lambda event: published.append(event.id), limit=7): pass
    connections.close_all()
threads = [threading.Thread(target=relay) for n in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
print(json.dumps({
    "created": [first.created, second.created],
    "failures": failures,
    "whole": [report.is_whole for report in verify_all()],
    "events": AuditEvent.objects.count(),
    "keys": len(json.loads(newest.payload)["keys"]),
    "numbers": list(environment.snapshots.order_by("number").values_list("number", flat=True)),
    "published": [len(published), len(set(published)), outbox.Outbox.objects.filter(published_at=None).count()],
}))
"""

MIGRATE_BACK = """
import sys
from pathlib import Path
from headwater.core.settings import load_settings
from headwater.control import bootstrap
home, url = sys.argv[1:]
settings = load_settings({"home": Path(home), "database.url": url}, environ={}, file=Path("/nonexistent"))
bootstrap.setup(settings)
from django.core.management import call_command
from django.db import connection
call_command("migrate", "audit", "0001", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("UPDATE audit_auditevent SET reason = reason")
call_command("migrate", "audit", verbosity=0)
"""

PREPARE = """
import sys
from pathlib import Path
from headwater.core.settings import load_settings
from headwater.control import bootstrap
home, url = sys.argv[1:]
bootstrap.prepare(load_settings({"home": Path(home), "database.url": url}, environ={}, file=Path("/nonexistent")))
"""

REHEARSE = """
import sys
from pathlib import Path
from headwater.core.errors import HeadwaterError
from headwater.core.settings import load_settings
from headwater.control import bootstrap
home, url = sys.argv[1:]
settings = load_settings({"home": Path(home), "database.url": url}, environ={}, file=Path("/nonexistent"))
try:
    with bootstrap.rehearsal(settings) as trial:
        from headwater.control.access.queries import get_environment
        print(get_environment("default", "default", "development").key)
except HeadwaterError as error:
    print(error.code, error.detail)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A throw-away server on a socket of its own; returns the URL of an empty database."""
    # A socket's path must be short, and the server must not run as root.
    directory = Path(subprocess.check_output(["mktemp", "-d", "/tmp/hwpg.XXXXXX"], text=True).strip())
    account = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if account:
        shutil.chown(directory, "postgres")
    subprocess.run(
        [*account, INITDB, "-D", f"{directory}/data", "-U", "hw", "-A", "trust", "-N"],
        check=True,
        capture_output=True,
    )
    process = subprocess.Popen(
        [*account, POSTGRES, "-D", f"{directory}/data", "-k", str(directory), "-h", "", "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                psycopg.connect(host=str(directory), user="hw", dbname="postgres").close()
                break
            except psycopg.OperationalError:
                subprocess.run(["sleep", "0.1"], check=True)
        with psycopg.connect(host=str(directory), user="hw", dbname="postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE control")
        yield f"postgresql://hw@/control?host={directory}"
    finally:
        pid = int((directory / "data" / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, 2)  # fast shutdown
        process.wait(20)
        shutil.rmtree(directory, ignore_errors=True)


def run(script: str, home: Path, url: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, "-c", script, str(home), url], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_rehearsal_leaves_the_server_as_it_was(server: str, tmp_path: Path) -> None:
    with psycopg.connect(server.replace("/control", "/postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE rehearsal")
    url, home = server.replace("/control", "/rehearsal"), tmp_path / "home"
    assert "config_unavailable" in run(REHEARSE, home, url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)

    run(PREPARE, home, url)
    assert run(REHEARSE, home, url) == "development\n"
    with psycopg.connect(url) as connection:
        for table in ("orgs_organization", "orgs_environment", "audit_auditevent", "snapshots_snapshot"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_the_control_plane_runs_on_postgresql(server: str, tmp_path: Path) -> None:
    answer = json.loads(run(SCRIPT, tmp_path / "home", server))
    assert answer["created"] == [True, False]
    assert answer["failures"] == []
    assert all(answer["whole"])
    assert answer["keys"] == 21, "the newest snapshot holds the keys of every writer"
    assert answer["numbers"] == sorted(set(answer["numbers"]))
    assert answer["published"] == [answer["events"], answer["events"], 0]
    assert not Home(tmp_path / "home").control_database.exists()

    with psycopg.connect(server) as connection:
        for statement in (
            "UPDATE audit_auditevent SET actor_label = 'x'",
            "DELETE FROM audit_auditevent",
            "TRUNCATE audit_auditevent",
        ):
            with pytest.raises(psycopg.errors.IntegrityError, match="cannot be changed or deleted"):
                connection.execute(statement)
            connection.rollback()

    run(MIGRATE_BACK, tmp_path / "home", server)
    with psycopg.connect(server) as connection, pytest.raises(psycopg.errors.IntegrityError):
        connection.execute("DELETE FROM audit_auditevent")


def test_an_empty_database_gets_what_the_migrations_would_have_made(server: str, tmp_path: Path) -> None:
    urls = [server.replace("/control", f"/{name}") for name in ("at_once", "step_by_step")]
    with psycopg.connect(server.replace("/control", "/postgres"), autocommit=True) as connection:
        for name in ("at_once", "step_by_step"):
            connection.execute(f"CREATE DATABASE {name}")
    make_both_ways(tmp_path / "home", urls[0], urls[1])
    made, expected = (dump(url) for url in urls)
    assert sorted(made) == sorted(expected)
    assert any(line.startswith("CREATE TRIGGER audit_event_kept BEFORE TRUNCATE") for line in made)


def dump(url: str) -> list[str]:
    """Return the lines that make the tables: a column's place in its table is where it was added."""
    text = subprocess.check_output([PG_DUMP, "--schema-only", "--no-owner", url], text=True)
    return [line.rstrip(",") for line in text.splitlines() if not line.startswith(("--", "\\"))]


@pytest.mark.timeout(480)
def test_what_control_promises_on_sqlite_it_keeps_on_postgresql(server: str) -> None:
    areas = ["audit", "catalog", "registry", "access", "kit"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            *(f"tests/unit/control/{area}" for area in areas),
        ],
        capture_output=True,
        text=True,
        env=os.environ | {"HEADWATER_DATABASE__URL": server},
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stdout
